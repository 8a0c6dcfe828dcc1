import gc
import inspect
import json
from dataclasses import fields

import duckdb
import h3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

import satclip_index as si
from satclip_index.encoder.location_encoder import unit_half
from satclip_index.errors import OutputError, QueryError, ResolutionError, TableError
from satclip_index.tables import joined_table
from satclip_index.tables.join import JoinOptions
from satclip_index.tables.row_locations import TableColumns

from ..oracles import embed, similarity

COUNT = 300


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, COUNT), np.degrees(np.arcsin(rng.uniform(-1, 1, COUNT)))
    names = [f'place {i}, "{i}"\n' for i in range(COUNT)]
    return pa.table({"id": np.arange(COUNT)[::-1].copy(), "name": names, "lon": lon, "lat": lat})


def cells_of(lon, lat, res=2):
    """Return the cells of points by h3-py."""
    return [int(h3.latlng_to_cell(y, x, res), 16) for x, y in zip(lon, lat, strict=True)]


def vectors(table, name="embedding"):
    return np.array(table[name].to_pylist(), np.float32)


@pytest.fixture
def write(tmp_path):
    def written(text, name="t.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


# --- what is added


@pytest.mark.parametrize("res", [1, 2])
def test_a_join_is_that_of_duckdb_on_the_cells_of_h3(atlas, points, tmp_path, res):
    pq.write_table(points, tmp_path / "points.parquet")
    out = tmp_path / "out.parquet"
    atlas.join(tmp_path / "points.parquet", res=res).write(out)
    located = points.append_column(
        "cell", pa.array(cells_of(points["lon"].to_pylist(), points["lat"].to_pylist(), res), pa.uint64())
    )
    files = [str(path) for path in (atlas.path / f"res={res}" / "cells").iterdir()]
    connection = duckdb.connect()
    connection.register("located", located)
    query = "SELECT t.*, c.embedding FROM located t JOIN read_parquet($1) c USING (cell) ORDER BY t.id DESC"
    expected = connection.sql(query, params=[files]).to_arrow_table()
    for found in (pq.read_table(out), connection.sql(f"FROM '{out}'").to_arrow_table()):
        assert found.column_names == ["id", "name", "lon", "lat", "cell", "embedding", "geometry"]
        for name in expected.column_names[:-1]:
            assert found[name].to_pylist() == expected[name].to_pylist()
        np.testing.assert_array_equal(vectors(found), vectors(expected))


def test_every_option_of_a_join_is_in_its_signature(atlas, points):
    signature = inspect.signature(si.Atlas.join).parameters
    options = {item.name for kind in (JoinOptions, TableColumns) for item in fields(kind)} - {"columns"}
    assert {name for name, option in signature.items() if option.kind is option.KEYWORD_ONLY} == options
    with pytest.raises(TypeError, match="unexpected keyword argument 'embeding'"):
        atlas.join(points, embeding="none")


def test_tables_in_memory_are_joined_as_files_are(atlas, points):
    expected = atlas.join(points).to_arrow()
    assert pa.table(atlas.join(points)).equals(expected)
    assert pa.table(atlas.join(points.to_reader(7))).equals(expected)
    frame = atlas.join(pd.DataFrame({name: points[name].to_pylist() for name in points.column_names})).to_pandas()
    assert frame["cell"].tolist() == expected["cell"].to_pylist()
    assert frame["name"].tolist() == expected["name"].to_pylist()
    assert json.loads(expected.schema.metadata[b"satclip_index"]) == {"like": [], "res": 2}
    with pytest.raises(TableError, match="dict is no table"):
        atlas.join({"lon": [1], "lat": [2]})


def test_the_embedding_may_be_columns_or_components_or_nothing(atlas, points):
    expected = vectors(atlas.join(points).to_arrow())
    columns = atlas.join(points, embedding="columns").to_arrow()
    assert columns.column_names[-16:] == [f"embedding_{i:02}" for i in range(16)]
    np.testing.assert_array_equal(np.stack([columns[f"embedding_{i:02}"] for i in range(16)], axis=1), expected)
    components = atlas.join(points, components=3).to_arrow()
    assert components.column_names[4:] == ["cell", "pc_01", "pc_02", "pc_03"]
    projected = (expected.astype(np.float64) - atlas.components.mean) @ atlas.components.components[:3].T
    np.testing.assert_allclose(np.stack([components[f"pc_0{i}"] for i in (1, 2, 3)], axis=1), projected, atol=1e-6)
    both = atlas.join(points, components=1, embedding="list").to_arrow()
    assert both.column_names[4:] == ["cell", "embedding", "pc_01"]
    assert atlas.join(points, embedding="none").to_arrow().column_names[4:] == ["cell"]


def test_similarities_are_to_the_stored_vectors_of_the_places(atlas, points):
    one = atlas.join(points, like="Nairobi", embedding="none").to_arrow()
    nairobi = atlas.embedding_at(36.82, -1.28)[0]
    expected = similarity(vectors(atlas.join(points).to_arrow()), nairobi)
    assert one.column_names[4:] == ["cell", "similarity"]
    np.testing.assert_array_equal(one["similarity"], expected)
    stream = atlas.join(points, like=["Nairobi", (10.0, 20.0)], embedding="none")
    two = stream.to_arrow()
    np.testing.assert_array_equal(two["similarity_1"], expected)
    assert "similarity_2" in two.column_names
    assert [place.split(",")[0] for place in stream.like] == ["Nairobi", "10.00 E 20.00 N"]


def test_exact_embeds_the_point_itself_as_an_atlas_would(atlas, encoder, points):
    found = vectors(atlas.join(points, exact=True).to_arrow())
    lon, lat = (np.array(points[name].to_pylist()) for name in ("lon", "lat"))
    raw = embed(encoder, lon, lat)
    np.testing.assert_allclose(found, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-3)
    np.testing.assert_array_equal(found, unit_half(encoder.encode(lon, lat))[0])
    assert (found != vectors(atlas.join(points).to_arrow())).any()


def test_a_cell_that_a_land_atlas_lacks_is_encoded(atlas, land_atlas, points):
    np.testing.assert_allclose(
        vectors(land_atlas.join(points).to_arrow()), vectors(atlas.join(points).to_arrow()), atol=2e-3
    )


def test_embed_table_needs_no_atlas(encoder, points, tmp_path):
    lon, lat = (np.array(points[name].to_pylist()) for name in ("lon", "lat"))
    expected, norm = unit_half(encoder.encode(lon, lat))
    stream = si.embed_table(encoder, points)
    found = stream.to_arrow()
    assert found.column_names[4:] == ["embedding", "norm"]
    np.testing.assert_array_equal(vectors(found), expected)
    np.testing.assert_array_equal(found["norm"], norm)
    si.embed_table(encoder, points, raw=True).write(tmp_path / "raw.parquet")
    raw = pq.read_table(tmp_path / "raw.parquet")
    assert raw.column_names[4:] == ["embedding", "geometry"]
    np.testing.assert_array_equal(vectors(raw), encoder.encode(lon, lat))
    with pytest.raises(QueryError, match="boundary of a cell"):
        si.embed_table(encoder, points, geometry="polygon")


# --- names, order and rows without a place


def test_a_name_that_is_taken_gets_a_prefix(atlas):
    names = ["lon", "lat", "Cell", "embedding", "SATCLIP_EMBEDDING", "geometry", "select"]
    table = pa.table([[1.0], [2.0], [3], [4], [5], [6], [7]], names=names)
    ours = ["satclip_cell", "satclip_satclip_embedding", "satclip_geometry"]
    found = atlas.join(table, geometry="point").to_arrow()
    assert found.column_names == names + ours
    assert [found[name].to_pylist() for name in names] == [[1.0], [2.0], [3], [4], [5], [6], [7]]


def test_rows_keep_their_order_over_many_batches(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(joined_table, "_BATCH_ROWS", 2048)
    count = 50_000
    place = "(i * 7919) % 360 - 180.0 AS lon, (i * 31) % 180 - 90.0 AS lat"
    select = f"SELECT hash(i) AS h, i, {place} FROM range({count}) t(i)"
    for name, options in (
        ("a.parquet", "FORMAT parquet, ROW_GROUP_SIZE 4096"),
        ("b.csv", ""),
        ("c.jsonl", "FORMAT json"),
    ):
        duckdb.sql(
            f"COPY ({select}) TO '{tmp_path / name}' ({options})"
            if options
            else f"COPY ({select}) TO '{tmp_path / name}'"
        )
        stream = atlas.join(tmp_path / name, components=1)
        assert stream.source.rows == count
        told: list[tuple[int, int]] = []
        stream.write(tmp_path / "out.parquet", progress=lambda *done, told=told: told.append(done))
        found = pq.read_table(tmp_path / "out.parquet")
        assert found["i"].to_pylist() == list(range(count))
        assert told[-1] == (count, count)
        np.testing.assert_array_equal(found["cell"], cells_of(found["lon"].to_pylist(), found["lat"].to_pylist()))


BAD = "lon,lat,n\n10,20,1\n,20,2\neast,20,3\n20,100,4\n500,1,5\n181,1,6\n"


def test_rows_without_a_place_are_kept_and_counted(atlas, write, tmp_path):
    stream = atlas.join(write(BAD), components=2)
    for name in ("out.parquet", "out.csv", "out.jsonl"):
        stream.write(tmp_path / name)
        found = duckdb.sql(f"FROM '{tmp_path / name}'").to_arrow_table()
        assert found["n"].to_pylist() == [1, 2, 3, 4, 5, 6]
        assert found["lon"].to_pylist() == ["10", None, "east", "20", "500", "181"]
        for column in ("cell", "pc_01", "pc_02"):
            assert [value is None for value in found[column].to_pylist()] == [False, True, True, True, True, False]
        assert stream.left_out == {"without coordinates": 2, "not on Earth": 2}
        assert "4 of 6 rows" in stream.remark()
        assert "swapped" in stream.remark()
    assert "6 rows" not in atlas.join(write("lon,lat\n1,2\n")).remark()


def test_strict_names_the_first_row_without_a_place_and_leaves_nothing(atlas, write, tmp_path):
    path = write(BAD)
    with pytest.raises(TableError, match=r"^Row 2 of .*t\.csv has no place: 1 without coordinates\.$"):
        atlas.join(path, strict=True).write(tmp_path / "out.parquet")
    with pytest.raises(TableError, match=r"^Row 2 of"):
        atlas.join(path, strict=True).write(tmp_path / "out.csv")
    cells = pa.table({"cell": ["8001fffffffffff", "8009fffffffffff", "x"]})
    with pytest.raises(TableError, match=r"^Row 3 of The table has no place: 1 not a cell"):
        atlas.join(cells, strict=True, descendants=True).to_arrow()
    assert [item.name for item in tmp_path.iterdir()] == ["t.csv"]


def test_a_table_without_any_place_fails(atlas, write, tmp_path):
    for name in ("out.parquet", "out.geojson"):
        with pytest.raises(TableError, match=r"None of the 2 rows of .*not on Earth.*swapped"):
            atlas.join(write("lon,lat\n1,200\n1,-99\n")).write(tmp_path / name)
    with pytest.raises(TableError, match="None of the 1,000,000 rows"):
        atlas.join(pa.table({"lon": pa.nulls(10**6), "lat": pa.nulls(10**6)})).to_arrow()
    assert [item.name for item in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "geojson", "parquet"])
def test_an_empty_table_gives_an_empty_one_with_the_columns(atlas, write, tmp_path, kind):
    out = tmp_path / f"out.{kind}"
    atlas.join(write("lon,lat,name\n"), embedding="columns").write(out)
    if kind == "parquet":
        assert pq.read_table(out).column_names[3:6] == ["cell", "embedding_00", "embedding_01"]
    elif kind == "csv":
        assert out.read_text().startswith("lon,lat,name,cell,embedding_00")
    elif kind != "jsonl":
        assert list(json.loads(out.read_text()).values())[-1] == []
    else:
        assert out.read_text() == ""


# --- formats


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "geojson", "parquet"])
def test_what_is_written_is_read_again_with_the_same_cells(atlas, points, tmp_path, kind):
    expected = atlas.join(points).to_arrow()
    out, again = tmp_path / f"out.{kind}", tmp_path / "again.parquet"
    atlas.join(points).write(out)
    atlas.join(out).write(again)
    found = pq.read_table(again)
    assert found["satclip_cell"].to_pylist() == expected["cell"].to_pylist()
    assert found["name"].to_pylist() == expected["name"].to_pylist()
    assert found["id"].to_pylist() == expected["id"].to_pylist()
    theirs = found["embedding"].to_pylist()
    theirs = [json.loads(value) for value in theirs] if kind == "csv" else theirs
    np.testing.assert_array_equal(np.array(theirs, np.float32), vectors(expected))
    # by the cell alone, and by the geometry alone
    for column in {"cell", "geometry"} & set(found.column_names):
        lone = pa.table({column: found[column]})
        assert atlas.join(lone).to_arrow()[-2].to_pylist() == expected["cell"].to_pylist()


def test_parquet_is_geoparquet_and_text_has_geometries_if_asked(atlas, points, tmp_path):
    for geometry, name in ((None, "out.parquet"), ("polygon", "polygons.parquet")):
        stream = atlas.join(points, embedding="none", geometry=geometry)
        stream.write(tmp_path / name)
        table = pq.read_table(tmp_path / name)
        geo = json.loads(table.schema.metadata[b"geo"])
        assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
        shapes = shapely.from_wkb(table["geometry"].to_pylist())
        where = shapely.points(points["lon"].to_numpy(), points["lat"].to_numpy())
        assert (
            shapely.equals(shapes, where).all() if geometry is None else shapely.intersects(shapes, where).mean() > 0.95
        )
        assert set(geo["columns"]["geometry"]["geometry_types"]) == (
            {"Point"} if geometry is None else {"Polygon", "MultiPolygon"}
        )
        for text in ("out.csv", "out.jsonl"):
            atlas.join(points, embedding="none").write(tmp_path / text)
            assert "geometry" not in duckdb.sql(f"FROM '{tmp_path / text}'").columns
            atlas.join(points, embedding="none", geometry=geometry or "point").write(tmp_path / text)
            read = duckdb.sql(f"FROM '{tmp_path / text}'").to_arrow_table()["geometry"].to_pylist()
            assert shapely.equals(shapely.from_wkt(read), shapes).all()
        stream.write(tmp_path / "out.geojson")
        features = json.loads((tmp_path / "out.geojson").read_text())["features"]
        drawn = [shapely.geometry.shape(feature["geometry"]) for feature in features]
        assert shapely.equals(drawn, shapes).all()
    atlas.join(points, geometry="none").write(tmp_path / "none.parquet")
    assert "geometry" not in pq.read_schema(tmp_path / "none.parquet").names


def test_a_geometry_of_the_table_stays_the_geometry(atlas, points, tmp_path):
    atlas.join(points, embedding="none").write(tmp_path / "points.parquet")
    only = pq.read_table(tmp_path / "points.parquet").select(["id", "geometry"])
    pq.write_table(only, tmp_path / "only.parquet")
    atlas.join(tmp_path / "only.parquet", embedding="none").write(tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["id", "geometry", "cell"]
    assert found["geometry"].to_pylist() == only["geometry"].to_pylist()
    assert json.loads(found.schema.metadata[b"geo"])["columns"]["geometry"]["geometry_types"] == []
    atlas.join(tmp_path / "only.parquet", embedding="none", geometry="polygon").write(tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["id", "geometry", "cell", "satclip_geometry"]
    assert json.loads(found.schema.metadata[b"geo"])["primary_column"] == "satclip_geometry"


def test_a_projected_geometry_is_not_called_degrees(atlas, points, tmp_path):
    atlas.join(points, embedding="none").write(tmp_path / "points.parquet")
    table = pq.read_table(tmp_path / "points.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"]["geometry"]["crs"] = {"type": "ProjectedCRS", "name": "x", "id": {"authority": "EPSG", "code": 3857}}
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), tmp_path / "projected.parquet")
    atlas.join(tmp_path / "projected.parquet", embedding="none").write(tmp_path / "out.parquet")
    geo = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"geo"])
    assert geo["columns"]["geometry"]["crs"] is None


def test_every_type_of_the_table_stays_what_it_was(atlas, tmp_path):
    duckdb.sql(
        f"""COPY (SELECT 1.0 AS lon, 2.0 AS lat, 'x' AS t, 1::UTINYINT AS u, DATE '2020-01-02' AS d,
        1.50::DECIMAL(9, 2) AS m, [1, NULL] AS l, {{'a': 1}} AS s, 'a'::BLOB AS b,
        TIMESTAMP '2020-01-01 00:00:01' AS ts, true AS y, 'nan'::DOUBLE AS nan,
        0.1::FLOAT AS f, NULL::INTEGER AS nothing, ['a"b', 'c'] AS texts)
        TO '{tmp_path}/t.parquet'"""
    )
    stream = atlas.join(tmp_path / "t.parquet", embedding="none")
    stream.write(tmp_path / "out.parquet")
    given = duckdb.sql(f"DESCRIBE FROM '{tmp_path}/t.parquet'").fetchall()
    assert duckdb.sql(f"DESCRIBE FROM '{tmp_path}/out.parquet'").fetchall()[: len(given)] == given
    stream.write(tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert {name: row[name] for name in ("t", "u", "d", "m", "l", "s", "y", "nan", "f", "nothing", "texts")} == {
        "t": "x",
        "u": 1,
        "d": "2020-01-02",
        "m": 1.5,
        "l": [1, None],
        "s": {"a": 1},
        "y": True,
        "nan": None,
        "f": 0.1,
        "nothing": None,
        "texts": ['a"b', "c"],
    }
    stream.write(tmp_path / "out.csv")
    (found,) = duckdb.sql(f"FROM read_csv('{tmp_path}/out.csv', all_varchar = true)").to_arrow_table().to_pylist()
    assert (found["d"], found["m"], json.loads(found["texts"]), json.loads(found["s"])) == (
        "2020-01-02",
        "1.50",
        ['a"b', "c"],
        {"a": 1},
    )


def test_what_cannot_be_is_said_before_anything_is_written(atlas, points, tmp_path, write):
    path = write("lon,lat\n1,2\n")
    for options, error, words in (
        ({"res": 5}, ResolutionError, "holds resolution 1, 2"),
        ({"embedding": "array"}, QueryError, "list, columns, none"),
        ({"components": 17}, QueryError, "from 1 to 16"),
        ({"geometry": "hexagon"}, QueryError, "point, polygon, none"),
        ({"lon": "east", "lat": "lat"}, TableError, "no column 'east'"),
    ):
        with pytest.raises(error, match=words):
            atlas.join(path, **options)
    with pytest.raises(OutputError, match="is the table that is read"):
        atlas.join(path).write(path, "csv")
    with pytest.raises(OutputError, match="implies no format"):
        atlas.join(path).write(tmp_path / "out.docx")
    with pytest.raises(OutputError, match="could not be written"):
        atlas.join(path).write(tmp_path / "no" / "out.csv")
    assert path.read_text() == "lon,lat\n1,2\n"


def test_a_stream_that_is_left_early_leaves_nothing_behind(atlas, write, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = write("lon,lat\n" + "1,2\n" * 200_000)
    stream = atlas.join(path, components=1)
    reader = stream.to_reader()
    assert reader.read_next_batch().num_rows
    del reader, stream
    gc.collect()
    assert [item.name for item in tmp_path.iterdir()] == ["t.csv"]
