import csv
import json

import duckdb
import numpy as np
import pytest

import satclip_index as si
from satclip_index.errors import AtlasNotFoundError, CorruptAtlasError
from satclip_index.sql import Answer, connect

from .oracles import stored


@pytest.fixture
def connection(atlas):
    with connect(atlas) as opened:
        yield opened


def rows(connection, query, *parameters):
    return list(Answer(connection, query, parameters).rows())


def test_the_view_has_the_columns_it_promises(connection):
    found = connection.sql("DESCRIBE cells").fetchall()
    assert [(name, kind) for name, kind, *_ in found] == [
        ("res", "UTINYINT"),
        ("cell", "UBIGINT"),
        ("lon", "DOUBLE"),
        ("lat", "DOUBLE"),
        ("land", "BOOLEAN"),
        ("norm", "FLOAT"),
        ("embedding", "FLOAT[16]"),
    ]


@pytest.mark.parametrize("res", [1, 2])
def test_the_view_is_the_parquet_files(connection, atlas, res):
    query = "SELECT * EXCLUDE res FROM cells WHERE res = $1 ORDER BY cell"
    found = connection.execute(query, [res]).fetchnumpy()
    expected = stored(atlas, res)
    for name in ("cell", "lon", "lat", "land", "norm"):
        np.testing.assert_array_equal(np.asarray(found[name]), expected[name])
    np.testing.assert_array_equal(np.stack(found["embedding"]), expected["embedding"])


def test_the_inner_product_in_sql_is_the_similarity_of_like(connection, atlas):
    found = atlas.like((36.82, -1.29), k=50, exclude_within_km=0, apart_km=0, ocean=True)
    query = """
        SELECT cell, array_inner_product(embedding, (SELECT embedding FROM cells WHERE res = 2 AND cell = $1)) AS alike
        FROM cells WHERE res = 2
    """
    by_cell = dict(connection.execute(query, [int(found.cell[0])]).fetchall())
    in_sql = np.array([by_cell[int(cell)] for cell in found.cell])
    np.testing.assert_allclose(in_sql, found.similarity, atol=1e-6)
    assert sum(alike > found.similarity[-1] + 1e-6 for alike in by_cell.values()) <= 49


def test_a_land_only_atlas_has_only_land(land_atlas):
    with connect(land_atlas) as opened:
        assert rows(opened, "SELECT DISTINCT land FROM cells") == [{"land": True}]


def test_files_are_tables_by_their_name(connection, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell = rows(connection, "SELECT cell FROM cells WHERE res = 1 LIMIT 1")[0]["cell"]
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["cell", "name"], [cell, "here"]])
    duckdb.sql(f"COPY (SELECT {cell}::UBIGINT AS cell, 'there' AS name) TO '{tmp_path}/mine.parquet'")
    (tmp_path / "mine.json").write_text(json.dumps([{"cell": cell, "name": "json"}]))
    for name, expected in (("mine.csv", "here"), ("mine.parquet", "there"), ("mine.json", "json")):
        found = rows(connection, f"SELECT name, res FROM '{name}' JOIN cells USING (cell)")
        assert found == [{"name": expected, "res": 1}]


@pytest.mark.parametrize("name", ["it's", "a b", "a[b]c", "a*b", "a?b", "a{b}c", 'a"b', "ü;--", "[!x]", "$1"])
def test_a_folder_of_any_name_can_be_queried(atlas, tmp_path, name):
    import shutil

    shutil.copytree(atlas.path, tmp_path / name)
    (tmp_path / "axb").mkdir()
    with connect(tmp_path / name) as opened:
        assert rows(opened, "SELECT count(*) AS n FROM cells") == [{"n": 842 + 5882}]


def test_a_relative_atlas_survives_a_change_of_folder(atlas, tmp_path, monkeypatch):
    monkeypatch.chdir(atlas.path.parent)
    with connect("atlas") as opened:
        monkeypatch.chdir(tmp_path)
        assert rows(opened, "SELECT count(*) AS n FROM cells")[0]["n"] == 6724


def test_work_can_be_kept_in_a_database_file(atlas, tmp_path):
    with connect(atlas, database=str(tmp_path / "mine.duckdb")) as opened:
        opened.execute("CREATE TABLE kept AS SELECT count(*) AS n FROM cells")
    with duckdb.connect(str(tmp_path / "mine.duckdb")) as opened:
        assert opened.sql("FROM kept").fetchall() == [(6724,)]
        assert "cells" not in [name for (name,) in opened.sql("SHOW TABLES").fetchall()]


def test_rows_are_those_of_arrow(connection):
    query = "SELECT res, cell, embedding FROM cells ORDER BY res, cell"
    found = rows(connection, query)
    table = Answer(connection, query).to_arrow_reader().read_all()
    assert table.num_rows == len(found) == 6724
    assert table.to_pylist() == found


def test_a_missing_atlas_is_named(tmp_path):
    with pytest.raises(AtlasNotFoundError, match="satclip-index build"):
        si.connect(tmp_path / "nothing")


def test_a_truncated_parquet_file_is_a_corrupt_atlas(atlas, copy_of):
    root = copy_of(atlas)
    path = next((root / "res=2" / "cells").iterdir())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptAtlasError, match=path.name):
        si.connect(root)
