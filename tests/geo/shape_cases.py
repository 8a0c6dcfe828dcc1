"""Shapes that geography must get right: by name, and drawn at random."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import strategies as st

from satclip_index.geo import grid
from satclip_index.geo.geojson_shapes import read_shape

from ..conftest import SHARED

COUNTRIES = SHARED / "natural_earth" / "countries_110m.geojson"

needs_countries = pytest.mark.skipif(not COUNTRIES.is_file(), reason="the real data in ../shared are not here")


def country(name):
    """Return the GeoJSON feature of a country."""
    features = json.loads(COUNTRIES.read_text(encoding="utf-8"))["features"]
    return next(feature for feature in features if feature["properties"]["NAME"] == name)


def bbox_shape(west, south, east, north):
    """Return the box between two meridians as a shape on the plane, west above east over the antimeridian."""
    width = east - west if west < east else (east - west) % 360
    sides = [(max(start, -180), min(start + width, 180)) for start in (west, west - 360)]
    return shapely.union_all([shapely.box(low, south, high, north) for low, high in sides if low < high])


def ring(west, south, east, north):
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


ROUND_A_POLE = [[lon, 62 + 9 * (lon // 10 % 2)] for lon in range(-180, 180, 10)] + [[-180, 62]]
SHAPES = {
    "box": bbox_shape(-20, -35, 52, 37),
    "box over the antimeridian": bbox_shape(170, -20, -150, 25),
    "box to the antimeridian": bbox_shape(150, -20, 180, 25),
    "box from the antimeridian": bbox_shape(-180, -20, -175, 25),
    "box of all longitudes but few": bbox_shape(-170, -90, 170, 90),
    "band": bbox_shape(-180, -10, 180, 23.4),
    "half": bbox_shape(0, -90, 180, 90),
    "north cap": bbox_shape(-180, 66.5, 180, 90),
    "south cap": bbox_shape(-180, -90, 180, -60),
    "wedge at a pole": bbox_shape(100, 60, 110, 90),
    "round the north pole": read_shape(polygon(ROUND_A_POLE)),
    "round the south pole": read_shape(polygon([[lon, -lat] for lon, lat in ROUND_A_POLE])),
    "ring over the antimeridian": read_shape(polygon(ring(150, -40, -150, 40), ring(170, -20, -170, 20))),
    "holes": read_shape(polygon(ring(-60, -60, 60, 60), ring(-40, -40, -5, 40), ring(5, -40, 40, 40))),
    "bow tie": read_shape(polygon([[0, 0], [50, 50], [50, 0], [0, 50], [0, 0]])),
    "tiny": bbox_shape(10, 10, 10.0001, 10.0001),
    "tiny at a pole": bbox_shape(0, 89.999, 1, 90),
    "the Earth": bbox_shape(-180, -90, 180, 90),
    "the Earth but a hole": read_shape(polygon(ring(-180, -90, 180, 90), ring(175, 50, -175, 60))),
}


@st.composite
def stars(draw):
    """Draw a shape of one to three stars, some with a hole, anywhere: over poles and the antimeridian, too."""
    rings = [draw(_star_rings()) for _ in range(draw(st.integers(1, 3)))]
    return read_shape({"type": "MultiPolygon", "coordinates": rings})


@st.composite
def _star_rings(draw):
    lon, lat = draw(st.floats(-180, 180)), draw(st.floats(-90, 90))
    turn = np.linspace(0, 2 * np.pi, draw(st.integers(3, 14)), endpoint=False)
    size = draw(st.sampled_from([0.5, 5, 30, 75]))
    reach = np.array(draw(st.lists(st.floats(0.3, 1), min_size=turn.size, max_size=turn.size))) * size
    rings = []
    for scale in (1, 0.4)[: draw(st.integers(1, 2))]:
        x = lon + scale * reach * np.cos(turn)
        y = np.clip(lat + scale * reach * np.sin(turn), -90, 90)
        points = np.column_stack([x, y])[:: draw(st.sampled_from([1, -1]))].tolist()
        rings.append([*points, points[0]])
    return rings


@st.composite
def shapes_through(draw, cells):
    """Draw a shape whose vertices are centres of cells: some lie on its very edge."""
    rows = draw(st.lists(st.integers(0, cells.size - 1), min_size=3, max_size=6, unique=True))
    lon, lat = grid.cell_centers(cells[np.array(rows)])
    return shapely.make_valid(shapely.Polygon(np.column_stack([lon, lat])))
