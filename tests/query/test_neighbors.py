import json

import h3
import numpy as np
import pytest

COLUMNS = ["rank", "cell", "lon", "lat", "similarity", "percentile", "distance_km", "nearest_city", "country"]


@pytest.fixture(scope="module")
def found(atlas):
    return atlas.like("Nairobi", k=8)


def test_columns_are_those_of_the_design_in_order(found):
    assert list(found.columns()) == COLUMNS
    assert {len(values) for values in found.columns().values()} == {len(found)} == {8}
    assert found.cell.dtype == np.uint64
    assert found.similarity.dtype == np.float32


def test_rows_arrow_and_pandas_say_the_same(found):
    table, frame, rows = found.to_arrow(), found.to_pandas(), list(found.rows())
    assert table.column_names == list(frame.columns) == list(rows[0]) == COLUMNS
    assert str(table.schema.field("cell").type) == "uint64"
    assert str(table.schema.field("similarity").type) == "float"
    assert json.loads(table.schema.metadata[b"satclip_index"]) == found.query
    for name in COLUMNS:
        expected = found.columns()[name]
        np.testing.assert_array_equal(table[name].to_pylist(), expected.tolist())
        np.testing.assert_array_equal(frame[name].to_numpy(), expected)
        np.testing.assert_array_equal(np.array([row[name] for row in rows], dtype=expected.dtype), expected)


def test_geojson_has_a_point_a_place_and_the_query(found):
    collection = found.to_geojson()
    assert collection["type"] == "FeatureCollection"
    assert collection["query"] == found.query
    for feature, row in zip(collection["features"], found.rows(), strict=True):
        assert feature["geometry"] == {"type": "Point", "coordinates": [row["lon"], row["lat"]]}
        assert feature["properties"]["cell"] == h3.latlng_to_cell(row["lat"], row["lon"], 2)


def test_html_escapes_what_it_shows(found):
    from dataclasses import replace

    cities = np.array(["<script>alert(1)</script>"] * 8, dtype=object)
    html = replace(found, nearest_city=cities)._repr_html_()
    assert "<script>" not in html
    assert html.count("<tr>") == 9


def test_an_empty_answer_converts_everywhere(atlas):
    nothing = atlas.like((0, 0), exclude_within_km=30_000)
    assert len(nothing) == 0
    assert nothing.to_arrow().num_rows == 0
    assert nothing.to_arrow().schema.field("nearest_city").type == "string"
    assert nothing.to_pandas().empty
    assert nothing.to_geojson()["features"] == []
    assert list(nothing.rows()) == []


def test_an_answer_cannot_be_changed_by_accident(found):
    with pytest.raises(AttributeError):
        found.rank = 3


def with_table(found, columns):
    pa = pytest.importorskip("pyarrow")
    from dataclasses import replace

    return replace(found, table=pa.table(columns))


def test_columns_of_a_table_follow_ours_and_take_none_of_our_names(found):
    theirs = {
        "country": ["x"] * 8,
        "Table_Country": [1] * 8,
        "LON": [0.5] * 8,
        "geometry": ["POINT (1 2)"] * 8,
        "n": range(8),
    }
    both = with_table(found, theirs)
    names = [*COLUMNS, "table_country", "table_Table_Country", "table_LON", "table_geometry", "n"]
    assert list(both.columns()) == both.to_arrow().column_names == list(both.to_pandas().columns) == names
    assert list(next(both.rows())) == names
    np.testing.assert_array_equal(both.columns()["country"], found.country)
    assert both.columns()["table_country"].tolist() == ["x"] * 8
    assert both.columns()["n"].dtype == np.int64
    assert both.to_geojson()["features"][3]["properties"]["n"] == 3
    assert both.to_geojson()["features"][3]["geometry"]["coordinates"] == [found.lon[3], found.lat[3]]
    assert "<th>table_country</th>" in both._repr_html_()


def test_values_of_a_table_survive_every_format(found, tmp_path):
    import csv
    import datetime
    import decimal
    import io

    import pyarrow.parquet as pq

    from satclip_index.storage.geoparquet import write_table

    day, money = datetime.date(2020, 1, 2), decimal.Decimal("1.50")
    values = {
        "d": day,
        "m": money,
        "l": [1, 2],
        "s": {"a": [None]},
        "b": b"\x01",
        "t": True,
        "f": 0.5,
        "home_cell": 2**59,
    }
    both = with_table(found, {name: [None if i == 1 else value for i in range(8)] for name, value in values.items()})
    first, second, *_ = both.rows()
    assert {name: first[name] for name in values} == values
    assert {name: second[name] for name in values} == dict.fromkeys(values)
    assert both.columns()["l"].tolist()[:3] == [[1, 2], None, [1, 2]]
    plain = {"d": "2020-01-02", "m": 1.5, "l": [1, 2], "s": {"a": [None]}, "b": "01", "t": True, "f": 0.5}
    plain["home_cell"] = 2**59  # a number of the table, whatever its name
    text = io.BytesIO()
    both.write_text(text, "json")
    rows = json.loads(text.getvalue())["rows"]
    assert [{name: row[name] for name in values} for row in rows[:2]] == [plain, dict.fromkeys(values)]
    text = io.BytesIO()
    both.write_text(text, "csv")
    rows = list(csv.DictReader(io.StringIO(text.getvalue().decode())))
    assert [rows[0][name] for name in ("d", "m", "l", "t", "home_cell")] == [
        "2020-01-02",
        "1.50",
        "[1, 2]",
        "true",
        str(2**59),
    ]
    assert {rows[1][name] for name in values} == {""}
    write_table(both.to_arrow(), tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == both.to_arrow().to_pylist()
