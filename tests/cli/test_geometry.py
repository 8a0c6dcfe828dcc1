"""What is drawn of an answer in a file, and an answer as the table of another question."""

import json

import geopandas
import pytest
import shapely

from satclip_index.geo import grid
from satclip_index.geo.cell_polygons import cell_polygons

from .test_cli import LIKE, answer, failed


def read(path):
    """Return a file as GeoPandas reads it, its cells as text."""
    frame = geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)
    assert frame.is_valid.all()
    return frame.assign(cell=[cell if isinstance(cell, str) else f"{cell:x}" for cell in frame["cell"]])


@pytest.mark.parametrize("name", ["out.parquet", "out.geojson"])
@pytest.mark.parametrize("command", [LIKE, ("unusual", "-k", "3", "--res", "1")])
def test_places_are_points_or_the_cells_they_lie_in(cli, atlas, tmp_path, command, name):
    found = {}
    for geometry in ((), ("--geometry", "point"), ("--geometry", "polygon")):
        done = cli(*command, *geometry, "-o", name, atlas=atlas)
        assert done.returncode == 0, done.stderr
        found[geometry[1:]] = read(tmp_path / name)
    assert len(found[()]) == 3
    assert found[()].equals(found["point",])
    cells = [int(cell, 16) for cell in found["polygon",]["cell"]]
    drawn = shapely.from_wkb(cell_polygons(cells).to_pylist())
    assert shapely.equals_exact(found["polygon",].geometry, drawn, 1e-9).all()
    lon, lat = grid.cell_centers(cells)
    assert shapely.equals_exact(found[()].geometry, shapely.points(lon, lat), 1e-9).all()


@pytest.mark.parametrize("name", ["out.parquet", "out.geojson"])
def test_regions_are_outlines_unless_points_are_wanted(cli, atlas, tmp_path, name):
    asked = ("like", "Nairobi", "--regions", "-k", "3", "-q")
    assert cli(*asked, "-o", name, atlas=atlas).returncode == 0
    outlines = read(tmp_path / name)
    assert set(outlines.geom_type) <= {"Polygon", "MultiPolygon"}
    assert cli(*asked, "-o", name, "--geometry", "point", atlas=atlas).returncode == 0
    points = read(tmp_path / name)
    assert set(points.geom_type) == {"Point"}
    assert outlines.geometry.covers(points.geometry, align=False).all()


def test_a_shape_needs_a_format_that_holds_it_and_a_name_that_is_known(cli, atlas):
    for command in ("like", "unusual"):
        place = ["Nairobi"] if command == "like" else []
        shown = failed(cli(command, *place, "--geometry", "polygon", "--format", "csv", atlas=atlas), code=2)
        assert "Only geojson and parquet hold shapes" in " ".join(shown.replace("│", " ").split())
        shown = failed(cli(command, *place, "--geometry", "hexagon", "-o", "x.geojson", atlas=atlas), code=2)
        assert "'hexagon'" in shown


@pytest.mark.parametrize("name", ["found.csv", "found.jsonl", "found.json", "found.geojson", "found.parquet"])
def test_an_answer_in_a_file_is_a_table_of_the_same_cells(cli, atlas, tmp_path, name):
    wide = ("--exclude-within", "0", "--apart", "0")
    assert cli(*LIKE, *wide, "-o", name, atlas=atlas).returncode == 0
    rows = answer(cli(*LIKE, *wide, atlas=atlas))
    for named in (("--cell", "cell"), ()):
        again = answer(cli(*LIKE, *wide, "--table", name, *named, atlas=atlas))
        assert [row["cell"] for row in again] == [row["cell"] for row in rows]
        assert [row["similarity"] for row in again] == [row["similarity"] for row in rows]
        theirs = [row["table_cell"] for row in again]
        assert [text if isinstance(text, str) else f"{text:x}" for text in theirs] == [row["cell"] for row in rows]


def test_the_geometry_of_a_table_stays_beside_what_is_drawn(cli, atlas, tmp_path):
    assert cli(*LIKE, "-o", "found.parquet", atlas=atlas).returncode == 0
    asked = (*LIKE, "--table", "found.parquet", "--apart", "0", "--geometry", "polygon")
    for name in ("again.parquet", "again.geojson"):
        done = cli(*asked, "-o", name, atlas=atlas)
        assert done.returncode == 0, done.stderr
        again = read(tmp_path / name)
        assert set(again.geom_type) == {"Polygon"}
        assert "table_geometry" in again.columns
    texts = read(tmp_path / "again.parquet")["table_geometry"].to_list()
    assert set(shapely.from_wkt(texts)) == set(read(tmp_path / "found.parquet").geometry)
    features = json.loads((tmp_path / "again.geojson").read_text())["features"]
    assert [feature["properties"]["table_geometry"] for feature in features] == texts
