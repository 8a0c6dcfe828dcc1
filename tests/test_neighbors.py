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
