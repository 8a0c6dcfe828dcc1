"""What other libraries make of answers and of the atlas's own files, each asked in its own way."""

import json
from html.parser import HTMLParser

import duckdb
import geopandas
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

import satclip_index as si
from satclip_index.errors import CorruptAtlasError, QueryError, ResolutionError
from satclip_index.geo import grid
from satclip_index.storage.geoparquet import write_table

from ..oracles import area_km2, stored


@pytest.fixture(scope="module")
def found(atlas):
    return atlas.like("Nairobi", k=8, ocean=True, apart_km=0, bbox=(178.5, -60, -178.5, 60))


@pytest.fixture(scope="module")
def regions(atlas):
    return atlas.regions("Nairobi", k=4, ocean=True)


def read_geo(table, path):
    """Return a table that was written as Parquet as GeoPandas reads it."""
    write_table(table, path)
    return geopandas.read_parquet(path)


# --- GeoParquet and GeoJSON


def check_frame(frame, answer):
    assert frame.crs.equals("OGC:CRS84")
    assert frame.active_geometry_name == "geometry"
    assert frame.is_valid.all()
    for name, values in answer.columns().items():
        np.testing.assert_array_equal(frame[name].to_numpy(), values)


def test_points_are_geoparquet(found, tmp_path):
    frame = read_geo(found.to_arrow(geometry="point"), tmp_path / "x.parquet")
    check_frame(frame, found)
    np.testing.assert_array_equal(shapely.get_coordinates(frame.geometry), np.column_stack([found.lon, found.lat]))


@pytest.mark.parametrize("geometry", ["point", "polygon"])
def test_duckdb_knows_the_geometry(found, tmp_path, geometry):
    write_table(found.to_arrow(geometry=geometry), tmp_path / "x.parquet")
    described = duckdb.sql(f"SELECT typeof(geometry), ST_AsText(geometry) FROM '{tmp_path}/x.parquet'").fetchall()
    assert {kind.partition("(")[0] for kind, _ in described} == {"GEOMETRY"}
    drawn = shapely.from_wkt([text for _, text in described])
    assert shapely.equals_exact(drawn, found.to_geopandas(geometry).geometry, 1e-12).all()


def test_cells_are_geoparquet(found, tmp_path):
    frame = read_geo(found.to_arrow(geometry="polygon"), tmp_path / "x.parquet")
    check_frame(frame, found)
    assert set(frame.geom_type) == {"Polygon", "MultiPolygon"}
    np.testing.assert_allclose(list(map(area_km2, frame.geometry)), grid.cell_areas_km2(found.cell), rtol=0.005)
    assert shapely.intersects_xy(frame.geometry, found.lon, found.lat).all()


def test_outlines_are_geoparquet(regions, tmp_path):
    frame = read_geo(regions.to_arrow(geometry="polygon"), tmp_path / "x.parquet")
    check_frame(frame, regions)
    outlines = [shapely.geometry.shape(outline) for outline in regions.outlines]
    assert shapely.equals_exact(frame.geometry, outlines, 0).all()
    points = read_geo(regions.to_arrow(geometry="point"), tmp_path / "y.parquet")
    assert set(points.geom_type) == {"Point"}


@pytest.mark.parametrize("geometry", ["point", "polygon"])
def test_the_footer_says_what_was_asked_and_what_is_drawn(found, tmp_path, geometry):
    write_table(found.to_arrow(geometry=geometry), tmp_path / "x.parquet")
    said = pq.read_schema(tmp_path / "x.parquet").metadata
    assert json.loads(said[b"satclip_index"]) == found.query
    column = json.loads(said[b"geo"])["columns"]["geometry"]
    frame = geopandas.read_parquet(tmp_path / "x.parquet")
    assert column["geometry_types"] == sorted(set(frame.geom_type))
    np.testing.assert_array_equal(column["bbox"], frame.total_bounds)


def test_an_answer_of_nothing_is_geoparquet_too(atlas, tmp_path):
    nothing = atlas.like((0, 0), exclude_within_km=30_000)
    for geometry in ("point", "polygon"):
        frame = read_geo(nothing.to_arrow(geometry=geometry), tmp_path / "x.parquet")
        assert (len(frame), frame.active_geometry_name) == (0, "geometry")
        assert nothing.to_geojson(geometry=geometry)["features"] == []


def test_the_atlas_itself_is_geoparquet(atlas):
    for path in sorted((atlas.path / "res=2" / "cells").glob("*.parquet")):
        frame = geopandas.read_parquet(path)
        assert frame.crs.equals("OGC:CRS84")
        np.testing.assert_array_equal(frame.geometry.x, frame["lon"])
        np.testing.assert_array_equal(frame.geometry.y, frame["lat"])


def test_a_column_called_geometry_of_a_table_is_kept_beside_ours(found, tmp_path):
    from dataclasses import replace

    both = replace(found, table=pa.table({"geometry": ["POINT (1 2)"] * 8, "Geometry": range(8)}))
    frame = read_geo(both.to_arrow(geometry="polygon"), tmp_path / "x.parquet")
    assert frame.columns[-3:].tolist() == ["table_geometry", "table_table_Geometry", "geometry"]
    assert frame["table_geometry"].tolist() == ["POINT (1 2)"] * 8
    assert both.to_geojson(geometry="polygon")["features"][0]["properties"]["table_geometry"] == "POINT (1 2)"


@pytest.mark.parametrize("geometry", [None, "point", "polygon"])
def test_gdal_reads_the_geojson(found, regions, tmp_path, geometry):
    for answer in (found, regions):
        (tmp_path / "x.geojson").write_text(json.dumps(answer.to_geojson(geometry=geometry)))
        frame = geopandas.read_file(tmp_path / "x.geojson", engine="pyogrio")
        assert frame.crs.equals("EPSG:4326")
        assert frame.is_valid.all()
        points = geometry == "point" or (geometry is None and answer is found)
        assert set(frame.geom_type) <= ({"Point"} if points else {"Polygon", "MultiPolygon"})
        assert frame["cell"].tolist() == [f"{cell:x}" for cell in answer.cell.tolist()]
        if not points:
            expected = answer.to_geopandas("polygon").geometry
            assert shapely.equals_exact(frame.geometry, expected, 1e-9).all()
            np.testing.assert_array_equal(frame["lon"], answer.lon)


def test_geopandas_takes_an_answer_directly(found):
    check_frame(found.to_geopandas(), found)
    assert set(found.to_geopandas().geom_type) == {"Point"}
    check_frame(found.to_geopandas("polygon"), found)


def test_a_shape_there_is_none_of_is_refused(found):
    for convert in (found.to_arrow, found.to_geojson):
        with pytest.raises(QueryError, match="'hexagon' is no way to draw a place; expected point or polygon"):
            convert(geometry="hexagon")


# --- Arrow


def in_every_library(exported):
    """Return an answer as rows, as each library takes it without being told what it is."""
    return {
        "polars": pl.DataFrame(exported).rows(),
        "pandas": list(pd.DataFrame.from_arrow(exported).itertuples(index=False, name=None)),
        "pyarrow": list(zip(*pa.table(exported).to_pydict().values(), strict=True)),
        "duckdb": duckdb.sql("FROM exported").fetchall(),
    }


def test_every_library_takes_an_answer_for_a_table(found):
    expected = list(zip(*(values.tolist() for values in found.columns().values()), strict=True))
    for library, rows in in_every_library(found).items():
        assert [tuple(row) for row in rows] == expected, library
    assert pl.DataFrame(found).columns == list(found.columns())
    assert pl.DataFrame(found).schema["cell"] == pl.UInt64


def test_every_library_takes_the_nearest_for_a_table(atlas):
    nearest = atlas.neighbors(grid.cells_at(1)[:5], 3, res=1)
    expected = [
        (cell, i + 1, neighbors[i], alike[i])
        for cell, neighbors, alike in zip(
            nearest.cell.tolist(), nearest.neighbor.tolist(), nearest.similarity.tolist(), strict=True
        )
        for i in range(3)
    ]
    for library, rows in in_every_library(nearest).items():
        assert [tuple(row) for row in rows] == expected, library


# --- the cells of an atlas


@pytest.mark.parametrize("res", [1, 2])
@pytest.mark.parametrize("land", [None, True, False])
def test_the_stream_of_cells_is_what_is_stored(atlas, res, land):
    columns = stored(atlas, res)
    kept = np.full(columns["cell"].size, True) if land is None else columns["land"].astype(bool) == land
    reader = atlas.cells(res, land=land)
    assert isinstance(reader, pa.RecordBatchReader)
    table = reader.read_all()
    assert table.column_names == ["cell", "lon", "lat", "land", "norm", "embedding"]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[16]"
    for name in ("cell", "lon", "lat", "land", "norm"):
        np.testing.assert_array_equal(table[name].to_numpy(), columns[name][kept])
    embedding = np.stack(table["embedding"].to_pylist()).astype(np.float32)
    np.testing.assert_array_equal(embedding, columns["embedding"][kept])


def test_columns_come_in_the_order_asked_for(atlas, land_atlas, tmp_path):
    assert atlas.cells(columns=["lat", "cell"], land=False).schema.names == ["lat", "cell"]
    assert atlas.cells().read_all().num_rows == grid.cell_count(2)
    assert land_atlas.cells(1, land=False).read_all().num_rows == 0
    write_table(atlas.cells(1, columns=["cell", "geometry"], land=True), tmp_path / "land.parquet")
    frame = geopandas.read_parquet(tmp_path / "land.parquet")
    assert frame.crs.equals("OGC:CRS84")
    np.testing.assert_array_equal(frame.geometry.x, atlas.cells(1, land=True).read_all()["lon"].to_numpy())


def test_other_libraries_take_the_stream(atlas):
    expected = atlas.cells(2).read_all()
    frame = pl.from_arrow(atlas.cells(2))
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 16)
    np.testing.assert_array_equal(frame["cell"].to_numpy(), expected["cell"].to_numpy())
    cells = atlas.cells(2)
    counted = duckdb.sql("SELECT count(*), sum(land::INT) FROM cells").fetchall()
    assert counted == [(5882, atlas.manifest.entry(2).land_count)]
    assert len(pd.DataFrame.from_arrow(atlas.cells(1, columns=["cell", "lon"]))) == 842
    assert cells.schema == expected.schema


def test_what_cannot_be_streamed_is_said(atlas, copy_of):
    with pytest.raises(ResolutionError, match="holds resolution 1, 2, not 7"):
        atlas.cells(7)
    with pytest.raises(QueryError, match="no column 'name'; they have cell, lon, lat"):
        atlas.cells(columns=["cell", "name"])
    root = copy_of(atlas)
    damaged = si.open_atlas(root)
    path = next((root / "res=2" / "cells").iterdir())
    data = path.read_bytes()
    path.write_bytes(bytes(len(data) // 2) + data[len(data) // 2 :])
    with pytest.raises(CorruptAtlasError, match=path.name):
        damaged.cells(2).read_all()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptAtlasError, match=path.name):
        damaged.cells(2)


@pytest.mark.parametrize("read", ["df", "pl", "to_arrow_table"])
def test_the_sql_connection_gives_every_library_its_own(atlas, read):
    columns = stored(atlas, 1)
    with si.connect(atlas) as connection:
        frame = getattr(connection.sql("SELECT * FROM cells WHERE res = 1 ORDER BY cell"), read)()
    assert list(getattr(frame, "column_names", getattr(frame, "columns", None))) == [
        "res", "cell", "lon", "lat", "land", "norm", "embedding",
    ]  # fmt: skip
    embedding = frame["embedding"].to_pylist() if read == "to_arrow_table" else frame["embedding"].to_list()
    np.testing.assert_array_equal(
        np.stack([np.asarray(vector, np.float32) for vector in embedding]), columns["embedding"]
    )
    np.testing.assert_array_equal(np.asarray(frame["cell"]), columns["cell"])


# --- notebooks


class Table(HTMLParser):
    """The rows of an HTML table, the styles of its cells, and what stands below it."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.styles, self.note, self.open = [], [], "", []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.styles.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.styles[-1].append(dict(attrs).get("style", ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        elif self.open[-1] == "p":
            self.note += data


def test_a_notebook_shows_an_answer_with_numbers_on_the_right(found):
    shown = Table(found._repr_html_())
    head, *body = shown.rows
    assert head == ["rank", "nearest_city", "country", "similarity", "percentile", "distance_km", "lon", "lat"]
    assert [row[0] for row in body] == [str(rank) for rank in found.rank]
    assert [row[1] for row in body] == found.nearest_city.tolist()
    right = [name for name, style in zip(head, shown.styles[1], strict=True) if style == "text-align: right"]
    assert right == ["rank", "similarity", "percentile", "distance_km", "lon", "lat"]
    assert shown.note == ""


def test_a_notebook_shows_the_first_of_a_long_answer(atlas):
    shown = Table(atlas.like("Nairobi", k=1200, apart_km=0, ocean=True)._repr_html_())
    assert [row[0] for row in shown.rows[1:]] == [str(rank) for rank in range(1, 61)]
    assert shown.note == "... and 1,140 more"


def test_a_notebook_shows_cells_as_text_and_cuts_what_is_long(found):
    from dataclasses import replace

    values = {"b": [b"\x00" * 99] * 8, "c": ["<b>&"] * 8, "n": [None, *range(7)], "my_cell": found.cell}
    shown = Table(replace(found, table=pa.table(values))._repr_html_())
    assert shown.rows[1][-4:] == ["0" * 77 + "...", "<b>&", "", f"{found.cell[0]:,}"]  # a number of the table
    assert "<b>" not in replace(found, table=pa.table(values))._repr_html_()


def test_a_notebook_shows_an_atlas(atlas):
    html = atlas._repr_html_()
    shown = Table(html)
    land = [atlas.manifest.entry(res).land_count for res in (1, 2)]
    assert shown.rows == [
        ["res", "cells", "on land"],
        ["1", "842", f"{land[0]:,}"],
        ["2", "5,882", f"{land[1]:,}"],
    ]
    size = sum(
        path.stat().st_size for path in atlas.path.rglob("*.*") if path.is_file() and path.name != "manifest.json"
    )
    assert shown.note == f"{atlas.path}: encoder tiny, 16 dimensions, {size / 1e6:,.1f} MB on disk"
    from pathlib import Path

    assert "&lt;x&gt;" in si.Atlas(Path("<x>"), atlas.manifest)._repr_html_()
