import csv
import json

import duckdb
import numpy as np
import pytest

import satclip_index as si
from satclip_index.errors import AtlasNotFoundError, CorruptAtlasError, QueryError
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


def test_parameters_are_bound(connection):
    text = "'; DROP VIEW cells; --"
    assert rows(connection, "SELECT $1 AS a, $2 + 1 AS b", text, 2) == [{"a": text, "b": 3}]
    assert rows(connection, "SELECT ? AS a", 5) == [{"a": 5}]


def test_the_last_of_several_statements_is_the_answer(connection):
    assert rows(connection, "SET threads = 1; SELECT 7 AS seven") == [{"seven": 7}]


def test_a_statement_without_rows_gives_none(connection):
    assert rows(connection, "SET threads = 1") == []
    assert rows(connection, "CREATE TEMP TABLE t AS SELECT 1 AS x") in ([], [{"Count": 1}])
    assert rows(connection, "SELECT 1 AS x WHERE false") == []


def test_columns_of_one_name_are_all_kept(connection):
    assert rows(connection, "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a") == [{"a": 1, "a_1": 2, "a_1_1": 3, "a_2": 4}]


def test_rows_are_those_of_arrow(connection):
    query = "SELECT res, cell, embedding FROM cells ORDER BY res, cell"
    found = rows(connection, query)
    table = Answer(connection, query).to_arrow_reader().read_all()
    assert table.num_rows == len(found) == 6724
    assert table.to_pylist() == found


@pytest.mark.parametrize(
    "query",
    [
        "SELEC 1",
        "SELECT * FROM nowhere",
        "SELECT * FROM 'missing.csv'",
        "SELECT nothing FROM cells",
        "SELECT CAST('x' AS INTEGER)",
        "SELECT CAST(CASE WHEN i > 50000 THEN 'x' ELSE '1' END AS INTEGER) AS n FROM range(100000) t(i)",
        "SELECT error('line one\nline two')",
        "SELECT array_inner_product(embedding, [1, 2]) FROM cells",
        "SELECT $1",
        "LOAD nothing_like_it",
        "SELECT 1; SELECT * FROM nowhere",
        "SELECT\n\n'unfinished",
        "DROP VIEW cells_",
    ],
)
def test_a_query_that_fails_is_one_line(connection, query):
    with pytest.raises(QueryError) as caught:
        list(Answer(connection, query).rows())
    assert "\n" not in str(caught.value)
    assert str(caught.value)
    with pytest.raises(QueryError) as caught:
        Answer(connection, query).to_arrow_reader().read_all()
    assert "\n" not in str(caught.value)


def test_a_missing_atlas_is_named(tmp_path):
    with pytest.raises(AtlasNotFoundError, match="satclip-index build"):
        si.connect(tmp_path / "nothing")


def test_a_truncated_parquet_file_is_a_corrupt_atlas(atlas, copy_of):
    root = copy_of(atlas)
    path = next((root / "res=2" / "cells").iterdir())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptAtlasError, match=path.name):
        si.connect(root)
