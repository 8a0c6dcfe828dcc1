"""Text formats against their readers: Python's own csv and json, DuckDB, pandas, Polars and shapely."""

import csv
import datetime
import decimal
import io
import json
import math

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from satclip_index.errors import OutputError
from satclip_index.formats.columns import CELL, WKB, marked
from satclip_index.formats.rows import plain_rows, plain_value, write_rows
from satclip_index.formats.text import write_table_text

CELL_ID = 0x832653FFFFFFFFF
STRICT = {"parse_constant": pytest.fail}


def text(table, kind, **options):
    file = io.BytesIO()
    write_table_text(table, file, kind, **options)
    return file.getvalue().decode()


def rows_of(table, kind, **options):
    found = text(table, kind, **options)
    if kind == "jsonl":
        return [json.loads(line, **STRICT) for line in found.split("\n")[:-1]]
    document = json.loads(found, **STRICT)
    return document["rows"] if kind == "json" else [feature["properties"] for feature in document["features"]]


def with_cells(**columns):
    table = pa.table({name: pa.array(values, pa.uint64()) for name, values in columns.items()})
    return table.cast(pa.schema([marked(field, CELL) for field in table.schema]))


# --- one dialect


def test_the_dialect_of_csv(tmp_path):
    table = pa.table(
        {
            "a,b": ["plain", "", None, 'q"', "x,y", "l\r\n", "NULL", " s "],
            "f": pa.array([1.0, 0.1, None, math.nan, math.inf, -math.inf, 1e300, -0.0]),
            "h": pa.array([1.0, 0.1, None, 3e10, 1e-8, 2.0, 16777216.0, 0.3911523], pa.float32()),
            "n": pa.array([1, None, 2**63 - 1, -5, 0, 1, 2, 3]),
            "y": pa.array([True, None, False, True, True, True, True, True]),
            "l": pa.array([[1.5, None], [], None, [2.0], [math.nan], [0.1], [1], [2]], pa.list_(pa.float64())),
        }
    )
    assert text(table, "csv").split("\n") == [
        '"a,b",f,h,n,y,l',
        'plain,1.0,1.0,1,true,"[1.5, null]"',
        '"",0.1,0.1,,,[]',
        ",,,9223372036854775807,false,",
        '"q""",nan,3e+10,-5,true,[2.0]',
        '"x,y",inf,1e-8,0,true,[null]',
        '"l\r',
        '",-inf,2.0,1,true,[0.1]',
        "NULL,1e+300,16777216.0,2,true,[1.0]",
        " s ,-0.0,0.3911523,3,true,[2.0]",
        "",
    ]


def test_csv_is_read_as_it_was_by_duckdb_pandas_and_polars(tmp_path):
    floats = [1.0, 0.1, math.inf, -math.inf, 1e300, 5e-324, -0.0, 123456789.0, 1e16, 1 / 3]
    table = pa.table(
        {
            "f": floats,
            "h": pa.array(np.array([*floats[:4], 3e38, 1e-45, *floats[6:]], np.float32)),
            "n": list(range(10)),
            "s": ["x", 'a "b", ü', "l\nm", "\r", "'", ";", "\t", "#c", "-", "e"],
            "d": [datetime.date(2020, 1, 2)] * 10,
            "t": [datetime.datetime(2020, 1, 2, 3, 4, 5, 600000)] * 10,
            "y": [True, False] * 5,
        }
    )
    path = tmp_path / "x.csv"
    path.write_bytes(text(table, "csv").encode())
    expected = table.to_pydict()
    found = duckdb.sql(f"FROM '{path}'").to_arrow_table()
    assert [str(field.type) for field in found.schema] == [
        "double", "double", "int64", "string", "date32[day]", "timestamp[us]", "bool",
    ]  # fmt: skip
    for name in ("f", "n", "s", "d", "t", "y"):
        assert found[name].to_pylist() == expected[name]
    assert np.float32(found["h"].to_pylist()).tolist() == expected["h"]
    frame = pd.read_csv(path)
    assert frame["f"].tolist() == expected["f"]
    assert frame["s"].tolist() == expected["s"]
    assert frame["y"].tolist() == expected["y"]
    assert np.float32(frame["h"]).tolist() == expected["h"]
    read = pl.read_csv(path)
    assert read["f"].to_list() == expected["f"]
    assert read["s"].to_list() == expected["s"]
    assert read["n"].to_list() == expected["n"]


def test_null_and_the_empty_string_differ_for_a_reader_that_looks(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(text(pa.table({"s": ["", None, "x"], "n": [1, 2, 3]}), "csv").encode())
    quoted = duckdb.sql(f"SELECT s FROM read_csv('{path}', allow_quoted_nulls = false)").fetchall()
    assert quoted == [("",), (None,), ("x",)]
    assert pl.read_csv(path)["s"].to_list() == ["", None, "x"]


def test_no_row_of_a_single_column_is_lost(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(text(pa.table({"n": [1, None, 3]}), "csv").encode())
    assert duckdb.sql(f"FROM '{path}'").fetchall() == [(1,), (None,), (3,)]
    assert len(pd.read_csv(path)) == 3
    assert len(list(csv.reader(io.StringIO(path.read_text())))) == 4


VALUES = {
    "n": st.integers(-(2**63), 2**63 - 1),
    "u": st.integers(0, 2**64 - 1),
    "y": st.booleans(),
    "f": st.floats(),
    "h": st.floats(width=32),
    "s": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "l": st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=3),
    "o": st.fixed_dictionaries({"a": st.one_of(st.none(), st.text(max_size=3)), "b": st.lists(st.integers(0, 9))}),
    "m": st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2).map(lambda items: list(items.items())),
}
TYPES = {
    "n": pa.int64(),
    "u": pa.uint64(),
    "y": pa.bool_(),
    "f": pa.float64(),
    "h": pa.float32(),
    "s": pa.string(),
    "l": pa.list_(pa.float32()),
    "o": pa.struct({"a": pa.string(), "b": pa.list_(pa.int8())}),
    "m": pa.map_(pa.string(), pa.int64()),
}


def plain(name, value):
    if isinstance(value, float):
        shortest = float(str(np.float32(value))) if name in ("h", "l") else value
        return shortest if math.isfinite(value) else None
    if isinstance(value, list):
        return dict(value) if name == "m" else [plain(name, item) for item in value]
    return value


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({name: st.one_of(st.none(), of) for name, of in VALUES.items()}), max_size=5),
    st.one_of(st.none(), st.just({"k": 3, "like": ["Zürich"]})),
    st.integers(0, 2),
)
def test_every_value_is_read_again(rows, query, start):
    table = pa.Table.from_pylist(rows, schema=pa.schema(TYPES)).slice(start)  # slices have offsets
    expected = [{name: plain(name, row[name]) for name in TYPES} for row in rows[start:]]
    for kind in ("jsonl", "json"):
        assert rows_of(table, kind, query=query) == expected
    assert rows_of(table, "geojson", geometry=None) == expected
    assert json.loads(text(table, "json", query=query)).get("query") == query
    found = list(csv.DictReader(io.StringIO(text(table, "csv"), newline=""), strict=True))
    for cells, row, given_row in zip(found, expected, rows[start:], strict=True):
        assert cells["n"] == ("" if row["n"] is None else str(row["n"]))
        assert cells["s"] == (row["s"] or "")
        for name in ("l", "o", "m"):
            assert (json.loads(cells[name], **STRICT) if cells[name] else None) == row[name]
        for name, kind in (("f", np.float64), ("h", np.float32)):
            read = np.nan if cells[name] == "" else kind(cells[name])
            np.testing.assert_array_equal(read, np.nan if given_row[name] is None else kind(given_row[name]))


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text_and_any_name_of_a_column_survives(value):
    table = pa.table({value: [value, "x"]})
    assert rows_of(table, "jsonl") == [{value: value}, {value: "x"}]
    assert list(csv.reader(io.StringIO(text(table, "csv"), newline=""), strict=True)) == [[value], [value], ["x"]]


# --- cells, by provenance


def test_cells_are_hexadecimal_where_they_are_marked_and_nowhere_else():
    table = with_cells(home=[CELL_ID, None, 0]).append_column("cell", pa.array([CELL_ID, 1, 2], pa.uint64()))
    expected = [("832653fffffffff", CELL_ID), (None, 1), ("0", 2)]
    for kind in ("json", "jsonl"):
        assert [(row["home"], row["cell"]) for row in rows_of(table, kind)] == expected
    assert [(row["home"], row["cell"]) for row in plain_rows(table)] == expected
    assert text(table, "csv").split("\n")[1:3] == [f"832653fffffffff,{CELL_ID}", ",1"]


# --- dates and times


def test_dates_and_times_are_duckdbs_own_text():
    query = """SELECT d, d::TIMESTAMP + INTERVAL '1:02:03.5' ts, (d::TIMESTAMP + INTERVAL 5 SECOND)::TIMESTAMP_S s,
        TIME '01:02:03' + INTERVAL (i * 100) MILLISECOND t FROM (SELECT unnest([DATE '0044-03-15 (BC)',
        '0001-01-01', '0001-01-02', '1969-12-31', '2024-02-29', '9999-12-30', '9999-12-31', '10000-01-01',
        '12020-01-02', 'infinity', '-infinity', NULL, '0001-12-31 (BC)']::DATE[]) d, unnest(range(13)) i)"""
    found = duckdb.sql(query).to_arrow_table()
    expected = duckdb.sql(f"SELECT COLUMNS(*)::VARCHAR FROM ({query})").fetchall()
    rows = [tuple(row.values()) for row in rows_of(found, "jsonl")]
    assert rows == expected


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York", "+02:00"])
def test_times_of_a_zone_are_local_with_their_offset(zone):
    times = pa.array([0, 1_500_000, None, 1_720_000_000_123_456], pa.timestamp("us", tz=zone))
    found = [row["t"] for row in rows_of(pa.table({"t": times}), "jsonl")]
    assert found[2] is None
    for value, ticks in ((found[i], times[i].value) for i in (0, 1, 3)):
        read = datetime.datetime.fromisoformat(value)
        assert read == datetime.datetime.fromtimestamp(ticks / 1e6, datetime.UTC)
        assert read.utcoffset() == times[0].as_py().utcoffset() or zone == "America/New_York"


# --- geometries


SHAPES = ["POINT (1 2)", "POINT (0.1 1e-7)", None, "POLYGON ((0 0, 1.1 0, 1 1, 0 0))", "POINT EMPTY", "POINT Z (1 2 3)"]


@pytest.mark.parametrize("shapes", [SHAPES[:3], SHAPES, [None], ["POINT EMPTY"], [*SHAPES[:1], "POINT (nan 1)"]])
def test_geometries_are_geojson_and_wkt(shapes):
    given_shapes = shapely.from_wkt(shapes)
    column = pa.array([None if shape is None else shapely.to_wkb(shape) for shape in given_shapes], pa.binary())
    table = pa.table([column], schema=pa.schema([marked(pa.field("where", pa.binary()), WKB)]))
    document = json.loads(text(table, "geojson", geometry="where"))
    for feature, shape in zip(document["features"], given_shapes, strict=True):
        assert feature["properties"] == {}
        if shape is None:
            assert feature["geometry"] is None
        elif not shape.is_empty and not np.isnan(shapely.get_coordinates(shape)).any():
            assert shapely.geometry.shape(feature["geometry"]) == shape
    wkt = [row["where"] for row in rows_of(table, "jsonl")]
    drawn = shapely.from_wkt(wkt)
    assert [shapely.to_wkb(shape) for shape in drawn] == [shapely.to_wkb(shape) for shape in given_shapes]


def test_points_and_other_shapes_look_alike():
    point, line = "POINT (0.5 10)", "LINESTRING (0.5 10, 1 1)"
    both = [shapely.to_wkb(shapely.from_wkt(value)) for value in (point, line)]
    field = marked(pa.field("g", pa.binary()), WKB)
    alone, mixed = (pa.table([pa.array(values)], schema=pa.schema([field])) for values in (both[:1], both))
    for kind in ("jsonl", "csv", "geojson"):
        options = {"geometry": "g"} if kind == "geojson" else {}
        first = text(alone, kind, **options).split("\n")
        assert text(mixed, kind, **options).split("\n")[1 if kind != "jsonl" else 0].strip(",") == first[
            1 if kind != "jsonl" else 0
        ].strip(",")


@pytest.mark.parametrize(
    "table",
    [
        {"a": [1]},
        {"lon": [None, 1.0], "lat": [1.0, 1.0]},
        {"lon": [1.0], "lat": [math.nan]},
        {"lon": ["east"], "lat": ["north"]},
    ],
)
def test_geojson_without_coordinates_is_refused_before_anything_is_written(table):
    file = io.BytesIO()
    with pytest.raises(OutputError, match="lon and lat"):
        write_table_text(pa.table(table), file, "geojson")
    assert file.getvalue() == b""


def test_coordinates_become_the_geometry():
    document = json.loads(text(pa.table({"lon": [1.5], "n": [1], "lat": [-2]}), "geojson", query={"k": 1}))
    assert document == {
        "type": "FeatureCollection",
        "query": {"k": 1},
        "features": [
            {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1.5, -2]}, "properties": {"n": 1}}
        ],
    }


# --- shapes of tables


@pytest.mark.parametrize("rows", [0, 1, 8192, 8193, 20_000])
def test_rows_of_any_number_are_one_document(rows):
    table = pa.table({"n": pa.array(range(rows), pa.int64()), "l": [[1.0] * 3] * rows})
    for kind in ("json", "jsonl"):
        assert [row["n"] for row in rows_of(table, kind)] == list(range(rows))
    assert text(table, "csv").count("\n") == rows + 1
    stream = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=999))
    assert text(stream, "json") == text(table, "json")


def test_a_batch_of_long_lists_is_written_in_parts():
    table = pa.table({"l": pa.array([np.zeros(100_000, np.float32)] * 200)})  # 80 MB
    assert [len(row["l"]) for row in rows_of(table, "jsonl")] == [100_000] * 200


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "b"]).dictionary_encode(),
        pa.array(["a", None, "b"], pa.large_string()),
        pa.array(["a", None, "b"], pa.string_view()),
        pa.array([["a"], None, []], pa.large_list(pa.string())),
        pa.array([["a", "b"], None, ["c", "d"]], pa.list_(pa.string(), 2)),
        pa.array([["a"], None, []], pa.list_view(pa.string())),
        pa.array([b"\x01\xff", None, b""]),
        pa.array([1.5, None, 2], pa.float16()),
        pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-0.01")]),
        pa.array([{}, None, {}], pa.struct([])),
        pa.nulls(3),
    ],
    ids=lambda column: str(column.type),
)
def test_every_type_of_arrow_has_a_text(column):
    found = [row["c"] for row in rows_of(pa.table({"c": column}), "jsonl")]
    expected = [plain_value(value) for value in column.to_pylist()]
    assert found == [float(value) if pa.types.is_decimal(column.type) and value else value for value in expected]
    assert text(pa.table({"c": column, "n": [1, 2, 3]}), "csv").split("\n")[2] == ",2"


def test_dictionaries_are_rows_too():
    file = io.BytesIO()
    write_rows([{"a": 1, "b": None}, {"a": 2.5, "b": "x"}], file, kind="csv")
    assert file.getvalue() == b"a,b\n1.0,\n2.5,x\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (b"\x01\xff", "01ff"),
        (float("inf"), None),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (decimal.Decimal("1.10"), "1.10"),
        ((1, float("nan")), [1, None]),
        ({1: {"x": b"\0"}}, {"1": {"x": "00"}}),
    ],
)
def test_values_json_lacks_become_ones_it_has(value, expected):
    assert plain_value(value) == expected
    json.dumps(plain_value(value), allow_nan=False)
