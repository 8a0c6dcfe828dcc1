import csv
import datetime
import decimal
import io
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satclip_index.errors import OutputError
from satclip_index.formats.rows import plain_value, write_rows

CELL = 0x832653FFFFFFFFF
ROW = {"cell": CELL, "home_cell": CELL, "lon": 1.5, "lat": -2.0, "name": 'a "b", ü\n', "n": 2**60, "nothing": None}


def text(rows, kind, query=None):
    file = io.StringIO()
    write_rows(rows, file, kind=kind, query=query)
    return file.getvalue()


def test_cells_are_hexadecimal_text_and_other_integers_are_not():
    for kind in ("json", "jsonl", "geojson"):
        document = json.loads(text([ROW], kind))
        row = {
            "json": lambda d: d["rows"][0],
            "jsonl": lambda d: d,
            "geojson": lambda d: d["features"][0]["properties"],
        }
        found = row[kind](document)
        assert found["cell"] == found["home_cell"] == "832653fffffffff"
        assert found["n"] == 2**60


@settings(max_examples=25)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "a": st.one_of(st.none(), st.integers(), st.booleans(), st.text(max_size=5)),
                "b": st.floats(),
                "c": st.lists(st.floats(width=32), max_size=3),
                "lon": st.floats(-180, 180),
                "lat": st.floats(-90, 90),
            }
        ),
        max_size=4,
    ),
    st.one_of(st.none(), st.just({"k": 3, "like": ["Zürich"]})),
)
def test_every_format_is_read_back_by_another_reader(rows, query):
    rows = [{name: row[name] for name in ("a", "b", "c", "lon", "lat")} for row in rows]  # Hypothesis varies the order
    strict = {"parse_constant": pytest.fail}

    def plain(value):
        if isinstance(value, list):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    expected = [{name: plain(value) for name, value in row.items()} for row in rows]
    lines = text(rows, "jsonl").split("\n")
    assert [json.loads(line, **strict) for line in lines[:-1]] == expected
    assert lines[-1] == ""
    document = json.loads(text(rows, "json", query), **strict)
    assert document["rows"] == expected
    assert document.get("query") == query
    collection = json.loads(text(rows, "geojson", query), **strict)
    assert collection["type"] == "FeatureCollection"
    assert [feature["geometry"]["coordinates"] for feature in collection["features"]] == [
        [row["lon"], row["lat"]] for row in rows
    ]
    table = list(csv.DictReader(io.StringIO(text(rows, "csv"), newline="")))
    for cells, row in zip(table, expected, strict=True):
        assert cells["a"] == ("" if row["a"] is None else str(row["a"]))
        assert json.loads(cells["c"], **strict) == row["c"]


def test_csv_has_one_header_and_quotes_what_it_must():
    rows = list(csv.DictReader(io.StringIO(text([ROW, ROW], "csv"), newline="")))
    assert [row["name"] for row in rows] == [ROW["name"]] * 2
    assert rows[0]["nothing"] == ""


@pytest.mark.parametrize("row", [{"a": 1}, {"lon": None, "lat": 1}, {"lon": 1, "lat": None}])
def test_geojson_without_coordinates_is_refused(row):
    with pytest.raises(OutputError, match="lon and lat"):
        text([row], "geojson")


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
    assert plain_value("x", value) == expected
    json.dumps(plain_value("x", value), allow_nan=False)
