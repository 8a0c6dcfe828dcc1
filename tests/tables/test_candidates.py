import gc
import struct
from pathlib import Path

import duckdb
import numpy as np
import pytest

from satclip_index.errors import QueryError, TableError
from satclip_index.tables import source
from satclip_index.tables.candidates import Candidates

POINTS = "lon,lat,population,name\n1,2,3,a\n4,5,6,b\n7,8,9,it's\n"


@pytest.fixture
def table(tmp_path):
    """Return a function that opens a table of some text."""

    def opened(text=POINTS, name="t.csv", **options):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return Candidates.open(tmp_path / name, **options)

    return opened


def rows_of(opened):
    return [row for places in opened.batches() for row in places.row.tolist()]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, [0, 1, 2]),
        ("population > 3", [1, 2]),
        ("population > 3 -- and so on", [1, 2]),
        ("name = 'it''s'", [2]),
        ("name IN ('a', 'b') AND NOT lon = 1", [1]),
        ("population > 1 OR false", [0, 1, 2]),
        ("(SELECT count(*) FROM range(3)) = 3", [0, 1, 2]),
        ("NULL", []),
        ("1", [0, 1, 2]),
    ],
)
def test_the_condition_is_sql(table, where, expected):
    assert rows_of(table(where=where)) == expected


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("pop > 1", 'Referenced column "pop" not found.* Candidate bindings: "population"'),
        ("population > 1; DROP TABLE numbered", 'at or near ";"'),
        ("population) OR (population", r'at or near "\)"'),
        ("1) GROUP BY (1", r'at or near "\)"'),
        ("true THEN 1 ELSE lon", "THEN"),
        ("name = 'x", "unterminated"),
        ("/* x", "unterminated"),
        ("population > 1 ORDER BY 1", "ORDER"),
        ("sum(population) > 1", "aggregates"),
        ("$1", "parameters"),
        (" ", "The condition is empty"),
    ],
)
def test_a_condition_that_is_none_is_one_line(table, where, words):
    with pytest.raises(QueryError, match=words) as caught:
        table(where=where)
    assert "\n" not in str(caught.value)


def test_names_may_be_reserved_words_or_hold_quotes(table):
    text = 'lon,lat,order,"group ""by""","row number (satclip-index)_",picked_at,numbered\n1,2,3,4,5,6,7\n'
    opened = table(text, where='"order" = 3 AND "group ""by""" = 4')
    assert rows_of(opened) == [0]
    assert opened.numbers() == ["order", 'group "by"', "row number (satclip-index)_", "picked_at", "numbered"]
    assert opened.fetch(np.array([0])).to_pylist() == [
        {
            "lon": 1,
            "lat": 2,
            "order": 3,
            'group "by"': 4,
            "row number (satclip-index)_": 5,
            "picked_at": 6,
            "numbered": 7,
        }
    ]


def test_rows_have_the_numbers_they_have_in_the_file(tmp_path):
    count = 300_000
    select = f"SELECT i AS n, i % 360 - 180.0 AS lon, i % 90 AS lat, i AS file_row_number FROM range({count}) t(i)"
    for name, columns, options in (
        ("a.parquet", "* EXCLUDE file_row_number", "FORMAT parquet, ROW_GROUP_SIZE 4096"),
        ("b.parquet", "*", "FORMAT parquet, ROW_GROUP_SIZE 4096"),
        ("c.csv", "*", "FORMAT csv"),
        ("d.csv.gz", "*", "FORMAT csv, COMPRESSION gzip"),
        ("e.jsonl", "*", "FORMAT json"),
    ):
        duckdb.sql(f"COPY (SELECT {columns} FROM ({select})) TO '{tmp_path / name}' ({options})")
        opened = Candidates.open(tmp_path / name, where="n % 3 = 1")
        read = list(opened.batches(columns=["n"]))
        row = np.concatenate([places.row for places in read])
        np.testing.assert_array_equal(row, np.arange(1, count, 3))
        np.testing.assert_array_equal(row, np.concatenate([places.values[:, 0] for places in read]))
        asked = np.array([299_999, 0, 150_001, 7])
        assert opened.fetch(asked)["n"].to_pylist() == asked.tolist()
        assert opened.fetch(asked[:0]).column_names == list(opened.types)


def test_a_late_row_may_be_of_another_type_than_the_sample(table, monkeypatch):
    monkeypatch.setattr(source, "_SAMPLE_ROWS", 30_000)
    text = "lon,lat,n\n" + "1,2,3\n" * 60_000 + 'east,2,"x, y"\n1,2,1.5\n'
    opened = table(text)
    assert opened.types["n"] == "VARCHAR"
    read = list(opened.batches())
    assert sum(places.row.size for places in read) == 60_001
    assert sum(places.locations.left_out["without coordinates"] for places in read) == 1
    assert opened.fetch(np.array([60_000]))["n"].to_pylist() == ["x, y"]


def test_a_spreadsheet_with_a_mark_and_semicolons_is_read(table):
    opened = table("\ufefflon;lat;Größe\r\n1,5;2;a\r\n".replace("1,5", "1.5"))
    assert [places.locations.lon.tolist() for places in opened.batches()] == [[1.5]]
    assert opened.fetch(np.array([0])).to_pylist() == [{"lon": 1.5, "lat": 2, "Größe": "a"}]


@pytest.mark.parametrize("text", ["", "lon,lat\n"])
def test_a_table_without_rows(table, text):
    if not text:
        with pytest.raises(TableError, match="no coordinates"):
            table(text)
        return
    assert rows_of(table(text)) == []


def test_every_type_comes_back_as_something_that_can_be_written(tmp_path):
    point = struct.pack("<BIdd", 1, 1, 10.0, 20.0)
    literal = "".join(f"\\x{byte:02X}" for byte in point)
    duckdb.sql(
        f"""COPY (SELECT st_geomfromwkb('{literal}'::BLOB) AS geometry, DATE '2020-01-02' AS d,
        1.50::DECIMAL(9, 2) AS m, [1, NULL] AS l, {{'a': 1}} AS s, (2::HUGEINT ** 100)::HUGEINT AS h, 'a'::BLOB AS b,
        INTERVAL 1 MONTH AS i, TIMESTAMP_NS '2020-01-01 00:00:00.000000001' AS ns, NULL::INTEGER AS nothing, true AS t)
        TO '{tmp_path}/t.parquet'"""
    )
    opened = Candidates.open(tmp_path / "t.parquet")
    assert opened.location.geometry == "geometry"
    assert [places.locations.lon.tolist() for places in opened.batches()] == [[10.0]]
    (row,) = opened.fetch(np.array([0])).to_pylist()
    assert row["geometry"] == "POINT (10 20)"
    assert (str(row["d"]), str(row["m"]), row["l"], row["s"], row["b"]) == (
        "2020-01-02",
        "1.50",
        [1, None],
        {"a": 1},
        b"a",
    )
    assert (row["i"], row["ns"], row["nothing"], row["t"]) == ("1 month", "2020-01-01 00:00:00.000000001", None, True)
    assert opened.numbers() == ["m", "h", "nothing"]


def test_what_was_copied_goes_away(table, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened = table()
    assert list(tmp_path.glob("satclip-index-*"))
    assert rows_of(opened) == [0, 1, 2]
    del opened
    gc.collect()
    assert not list(tmp_path.glob("satclip-index-*"))
    with pytest.raises(QueryError):
        table(where="nonsense")
    assert not list(tmp_path.glob("satclip-index-*"))
    assert not Path(".tmp").exists()
