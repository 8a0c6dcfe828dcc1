import json

import h3
import pytest

from satclip_index.errors import TableError
from satclip_index.tables import geojson_rows
from satclip_index.tables import source as sources
from satclip_index.tables.source import Source


def feature(lon, lat, number=None, **properties):
    made = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [lon, lat]}, "properties": properties}
    return made if number is None else made | {"id": number}


FEATURES = [
    feature(10, 20, 7, name="ä]}{[", n=1),
    feature(-30.5, 40.25, 8, name='"', n=None),
    feature(1, 2, 9, more=[1, {"a": 2}]),
]


def rows(path):
    source = Source.open(path)
    columns = [f"ST_AsText({name})" if kind == "GEOMETRY" else f'"{name}"' for name, kind in source.types.items()]
    with source.cursor() as connection:
        found = connection.sql(f"SELECT {', '.join(columns)} FROM numbered").fetchall()
    return list(source.types), found


def texts():
    collection = {"type": "FeatureCollection", "name": "x", "crs": {"a": [1]}, "features": FEATURES}
    yield "a.geojson", json.dumps(collection)
    yield "b.json", "\ufeff" + json.dumps(collection, indent=2, ensure_ascii=False)
    yield "c.geojson", json.dumps({"features": FEATURES, "type": "FeatureCollection"})
    yield "d.geojsonl", "\n".join(map(json.dumps, FEATURES)) + "\n"
    yield "e.ndjson", "\r\n".join(map(json.dumps, FEATURES))
    yield "f.geojsons", "".join("\x1e" + json.dumps(item) + "\n" for item in FEATURES)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize(("name", "text"), list(texts()), ids=lambda value: value[:9])
def test_features_are_rows_whatever_way_they_are_written(tmp_path, monkeypatch, name, text, piece):
    monkeypatch.setattr(geojson_rows, "_PIECE", piece)
    (tmp_path / name).write_text(text, encoding="utf-8")
    names, found = rows(tmp_path / name)
    assert names == ["id", "name", "n", "geometry", "more"]
    assert [row[:4] for row in found] == [
        (7, "ä]}{[", 1, "POINT (10 20)"),
        (8, '"', None, "POINT (-30.5 40.25)"),
        (9, None, None, "POINT (1 2)"),
    ]


def test_a_long_document_is_read_in_pieces(tmp_path, monkeypatch):
    path = tmp_path / "long.geojson"
    with path.open("w") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        file.write(",".join(json.dumps(feature(i % 360 - 180, 0, text="x" * 100)) for i in range(20_000)))
        file.write("]}")
    monkeypatch.setattr(geojson_rows, "_PIECE", 1000)
    longest = 0

    class Watched(geojson_rows._JsonReader):
        def value(self):
            nonlocal longest
            longest = max(longest, len(self._text))
            return super().value()

    monkeypatch.setattr(geojson_rows, "_JsonReader", Watched)
    assert Source.open(path).rows == 20_000
    assert longest < 10_000


def test_a_property_called_geometry_and_other_shapes_are_kept(atlas, tmp_path):
    shapes = [
        {"type": "Point", "coordinates": [1, 2, 300]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
        None,
        {"type": "Nonsense"},
    ]
    made = [{"type": "Feature", "geometry": shape, "properties": {"Geometry": "mine"}} for shape in shapes]
    (tmp_path / "t.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": made}))
    names, found = rows(tmp_path / "t.geojson")
    assert names == ["properties_Geometry", "geometry"]
    assert [row[1] for row in found] == ["POINT Z (1 2 300)", "POLYGON ((0 0, 1 0, 1 1, 0 0))", None, None]
    stream = atlas.join(tmp_path / "t.geojson", embedding="none")
    assert stream.to_arrow()["cell"].to_pylist() == [int(h3.latlng_to_cell(2, 1, 2), 16), None, None, None]
    assert stream.left_out == {"without coordinates": 3}


def test_a_collection_of_nothing_has_no_rows(atlas, tmp_path):
    (tmp_path / "t.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    found = atlas.join(tmp_path / "t.geojson", embedding="none").to_arrow()
    assert (found.num_rows, found.column_names) == (0, ["geometry", "cell"])


def test_tables_in_json_are_not_taken_for_geojson(tmp_path):
    plain = [{"lon": 1, "lat": 2, "rows": [1, 2], "type": "Feature"}] * 2
    for name, text in (("a.json", json.dumps(plain)), ("b.jsonl", "\n".join(map(json.dumps, plain)))):
        (tmp_path / name).write_text(text)
        assert not geojson_rows.holds_features(tmp_path / name)
        assert Source.open(tmp_path / name).rows == 2
    (tmp_path / "c.json").write_text('{"query": {"k": 3}, "rows": [{"lon": 1}, {"lon": 2}]}')
    assert rows(tmp_path / "c.json") == (["lon"], [(1,), (2,)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"type": "FeatureCollection", "features": [',
        '{"features": [1]}',
        '{"features": [{"type": "Feature"}]}',
        '{"features": [{"type": "Feature", "geometry": null, "properties": {}} {}]}',
        '{"type": "Point", "coordinates": [1, 2]}',
        "\x00",
        "[" * 100_000,
        '{"a" 1}',
        '{"a": 1 "b": 2}',
    ],
)
def test_what_is_no_geojson_is_one_line(tmp_path, text):
    (tmp_path / "t.geojson").write_text(text)
    with pytest.raises(TableError, match=r"t\.geojson is not GeoJSON") as caught:
        Source.open(tmp_path / "t.geojson")
    assert "\n" not in str(caught.value)


def test_a_late_feature_may_be_of_another_type_than_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_SAMPLE_ROWS", 10)
    made = [feature(1, 2, n=i) for i in range(30_000)] + [feature(1, 2, n="text")]
    (tmp_path / "t.geojsonl").write_text("\n".join(map(json.dumps, made)))
    source = Source.open(tmp_path / "t.geojsonl")
    assert (source.rows, source.types["geometry"]) == (30_001, "GEOMETRY")
