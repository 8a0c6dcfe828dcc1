import csv
import gc
import json

import duckdb
import h3
import numpy as np
import pytest

import satclip_index as si
from satclip_index.errors import AtlasNotFoundError, CorruptAtlasError, QueryError
from satclip_index.sql.connection import Answer, connect

from ..oracles import stored


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
    with connect(atlas, database=tmp_path / "mine.duckdb", read_only=False) as opened:
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


def test_a_database_file_is_opened_to_be_read_unless_told_otherwise(atlas, tmp_path):
    file = tmp_path / "a \"b'c.duckdb"
    with duckdb.connect(str(file)) as opened:
        opened.execute("CREATE TABLE mine AS SELECT 1 AS a")
    with connect(atlas, database=file) as opened:
        assert rows(opened, "SELECT a, (SELECT count(*) FROM cells) AS n FROM mine") == [{"a": 1, "n": 6724}]
        with pytest.raises(QueryError, match="read-only"):
            rows(opened, "CREATE TABLE other AS SELECT 1")
    with pytest.raises(QueryError, match="does not exist"):
        connect(atlas, database=tmp_path / "missing.duckdb")
    (tmp_path / "text.duckdb").write_text("no database")
    with pytest.raises(QueryError, match="not a valid DuckDB"):
        connect(atlas, database=tmp_path / "text.duckdb")


def test_one_file_can_be_open_twice_with_two_atlases(atlas, land_atlas, tmp_path):
    file = tmp_path / "mine.duckdb"
    duckdb.connect(str(file)).close()
    with connect(atlas, database=file) as one, connect(land_atlas, database=file) as other:
        counts = [rows(opened, "SELECT count(*) AS n FROM cells")[0]["n"] for opened in (one, other)]
        embedded = [
            rows(opened, "SELECT count(satclip_embedding(cell)) AS n FROM satclip.cells")[0]["n"]
            for opened in (one, other)
        ]
    assert counts == [6724, len(land_atlas.index(1)) + len(land_atlas.index(2))]
    assert embedded == [6724, counts[1]]


def test_a_connection_that_nobody_holds_is_closed(atlas, tmp_path):
    file = tmp_path / "mine.duckdb"
    duckdb.connect(str(file)).close()
    opened = connect(atlas, database=file, read_only=False)
    rows(opened, "FROM places_like(0, 0)")
    del opened
    gc.collect()
    with connect(atlas, database=file) as again:  # DuckDB refuses a file that is open in another way
        rows(again, "SELECT 1")


# --- names


def test_a_table_of_the_user_hides_the_view_which_keeps_its_full_name(connection):
    connection.execute("CREATE TABLE cells AS SELECT 'mine' AS whose")
    assert rows(connection, "FROM cells") == [{"whose": "mine"}]
    assert rows(connection, "SELECT count(*) AS n FROM satclip.cells") == [{"n": 6724}]
    assert len(rows(connection, "FROM places_like(0, 0, \"where\" := 'lat > 0', k := 2)")) == 2


def test_functions_of_the_h3_extension_come_before_ours(connection):
    ours = rows(connection, "SELECT h3_latlng_to_cell(1, 2, 3) AS c")[0]["c"]
    assert ours == h3.str_to_int(h3.latlng_to_cell(1, 2, 3))
    with connection.cursor() as elsewhere:  # as loading an extension does, into the system's catalog
        elsewhere.create_function("h3_latlng_to_cell", lambda a, b, c: 17, ["DOUBLE", "DOUBLE", "INTEGER"], "UBIGINT")
        assert rows(connection, "SELECT h3_latlng_to_cell(1, 2, 3) AS c") == [{"c": 17}]
        assert rows(connection, "SELECT satclip_cell(2, 1, 3) AS c") == [{"c": ours}]


# --- safe


FORBIDDEN = [
    "FROM '{file}'",
    "FROM read_text('{file}')",
    "FROM glob('{folder}/*')",
    "COPY (SELECT 1) TO '{folder}/new.csv'",
    "COPY (SELECT 1) TO '{part}'",
    "FROM read_parquet('{part}')",
    "EXPORT DATABASE '{folder}/new'",
    "ATTACH '{folder}/new.duckdb'",
    "INSTALL h3",
    "LOAD '{folder}/x.duckdb_extension'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET python_enable_replacements = true",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
    "FROM places_like(0, 0, \"where\" := 'cell IN (SELECT 1 FROM read_text(''{file}''))')",
    "FROM variable_of_python",
]


@pytest.mark.parametrize("query", FORBIDDEN)
def test_a_safe_connection_reaches_nothing_but_the_atlas(atlas, tmp_path, query):
    variable_of_python = duckdb.sql("SELECT 1").to_arrow_table()
    assert variable_of_python.num_rows == 1
    part = next((atlas.path / "res=1" / "cells").iterdir())
    (tmp_path / "file.csv").write_text("a\n1\n")
    before = part.read_bytes()
    with connect(atlas, safe=True) as opened, pytest.raises(QueryError):
        rows(opened, query.format(file=tmp_path / "file.csv", folder=tmp_path, part=part))
    assert part.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["file.csv"]


def test_a_safe_connection_answers_as_any_other(atlas, connection):
    queries = [
        "DESCRIBE cells",
        "FROM cells WHERE res = 2 AND lat > 80 ORDER BY cell",
        "FROM places_like(36.8, -1.3, k := 5, \"where\" := 'lat > 0')",
        "SELECT satclip_percentile(satclip_similarity(embedding, satclip_embed(1, 2))) AS p FROM cells WHERE res = 1",
        "SELECT h3_latlng_to_cell(1, 2, 1) AS c, satclip_embedding(c) AS e",
    ]
    with connect(atlas, safe=True) as opened:
        for query in queries:
            assert rows(opened, query) == rows(connection, query)
        opened.execute("CREATE TABLE scratch AS SELECT 1 AS a")  # memory may be written to
