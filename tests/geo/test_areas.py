import json

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from satclip_index.geo import grid, sphere
from satclip_index.geo.areas import Area, FarFrom, cap_bounds, cells_in, descendant_reach_rad
from satclip_index.geo.places import Place

from ..oracles import all_cells, haversine_km
from .shape_cases import SHAPES, country, needs_countries, stars

MIDDLES = st.tuples(st.floats(-180, 180), st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 0.0, 89.9999]))


def scan(shape, res):
    """Return the cells whose centres a shape covers, by looking at every cell."""
    cells = all_cells(res)
    return cells[shapely.intersects_xy(shape, *grid.cell_centers(cells))]


def around(lon, lat, angle, points=181):
    """Return points at an angle from a place, by turning a tangent round it; at the poles, too."""
    bearing, lon, lat = np.linspace(0, 2 * np.pi, points)[:, None], np.radians(lon), np.radians(lat)
    up = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    east = np.array([-np.sin(lon), np.cos(lon), 0])
    x, y, z = (np.cos(angle) * up + np.sin(angle) * (np.cos(bearing) * np.cross(up, east) + np.sin(bearing) * east)).T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


@given(MIDDLES, st.floats(0, np.pi) | st.floats(0, 1e-3))
@example((30.0, 90.0), 0.1)
@example((30.0, -90.0), 0.1)
@example((180.0, 89.0), 0.02)
@example((-180.0, -89.0), 0.02)
@example((-179.9, 80.0), 0.1)
def test_the_box_round_a_cap_holds_its_rim(middle, reach):
    west, south, east, north = (float(side[0]) for side in cap_bounds(*map(np.atleast_1d, middle), np.array([reach])))
    lon, lat = around(*middle, reach)
    assert -90 <= south <= lat.min() + 1e-6
    assert lat.max() - 1e-6 <= north <= 90
    sure = np.abs(lat) < 90 - 1e-6  # at a pole the oracle's longitude means nothing
    assert ((lon[sure] - west) % 360 <= east - west + 1e-6).all() or east - west >= 360
    assert -360 <= west <= east <= 360
    assert west >= -180 or east <= 180, "it goes over one side only"


@given(MIDDLES, st.floats(0, 1.5))
def test_the_box_round_a_cap_is_no_wider_than_it(middle, reach):
    west, south, east, north = (float(side[0]) for side in cap_bounds(*map(np.atleast_1d, middle), np.array([reach])))
    lon, lat = around(*middle, reach, points=20_001)
    if abs(middle[1]) + np.degrees(reach) < 89:
        assert north - lat.max() < 1e-3
        assert lat.min() - south < 1e-3
        widest = ((lon - middle[0] + 180) % 360 - 180).max()
        assert (east - west) / 2 - widest < 1e-2


def angle_between(cells, ancestors):
    a, b = (sphere.unit_vectors(*grid.cell_centers(some)) for some in (cells, ancestors))
    return 2 * np.arcsin(np.linalg.norm(a - b, axis=1) / 2)


DEEP = [pytest.param(res, 5, marks=pytest.mark.slow) for res in (0, 3)]  # two million cells


@pytest.mark.parametrize(("res", "finer"), [(0, 1), (0, 3), (1, 2), (1, 4), (2, 3), (2, 4), (3, 4), *DEEP])
def test_no_descendant_is_further_than_the_reach_of_its_resolution(res, finer):
    cells = grid.cells_at(finer)
    furthest = angle_between(cells, grid.ancestors(cells, res)).max()
    assert furthest < descendant_reach_rad(res)
    assert furthest > 0.6 * descendant_reach_rad(res), "the reach is no wider than it need be"


@pytest.mark.parametrize("res", range(4, 15))
def test_a_child_takes_its_share_of_the_reach_at_every_resolution(res):
    rng = np.random.default_rng(res)
    lon, lat = rng.uniform(-180, 180, 20_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000)))
    children = grid.cells_of_points(lon, lat, res + 1)
    step = descendant_reach_rad(res) - descendant_reach_rad(res + 1)
    assert 0.9 * step < angle_between(children, grid.ancestors(children, res)).max() < step


@pytest.mark.parametrize("res", [0, 1, 2, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_the_cells_in_an_area_are_those_whose_centres_it_covers(name, res):
    np.testing.assert_array_equal(cells_in(Area(SHAPES[name]), res), scan(SHAPES[name], res))


@given(stars(), st.integers(0, 3))
def test_the_cells_in_any_area_are_those_whose_centres_it_covers(shape, res):
    np.testing.assert_array_equal(cells_in(Area(shape), res), scan(shape, res))


@given(MIDDLES, st.floats(0, 20_000))
def test_the_cells_far_from_a_point_are_those_the_haversine_says(middle, radius_km):
    lon, lat = map(np.atleast_1d, middle)
    cells = all_cells(2)
    distance = haversine_km(*grid.cell_centers(cells), lon, lat)
    found = np.isin(cells, cells_in(FarFrom(sphere.PointSet(lon, lat), radius_km), 2))
    sure = np.abs(distance - radius_km) > 1e-3
    np.testing.assert_array_equal(found[sure], (distance >= radius_km)[sure])


@given(stars(), MIDDLES, st.floats(0, 0.4))
def test_a_cap_said_to_be_inside_or_outside_is_so_at_every_point(shape, middle, reach):
    inside, outside = Area(shape).holds_caps(*map(np.atleast_1d, middle), np.array([reach]))
    for part in (0, 0.3, 0.7, 1):
        held = shapely.intersects_xy(shape, *around(*middle, reach * part))
        assert held.all() or not inside[0]
        assert not held.any() or not outside[0]


@pytest.mark.shared
@needs_countries
@pytest.mark.parametrize("name", ["Russia", "Fiji", "Antarctica", "Brazil", "Luxembourg"])
def test_the_cells_of_a_country_are_those_whose_centres_it_covers(name, tmp_path):
    (tmp_path / "country.geojson").write_text(json.dumps(country(name)))
    place = Place.of(tmp_path / "country.geojson")
    for res in (1, 4):
        cells = scan(place.area, res)
        if cells.size:
            np.testing.assert_array_equal(place.cells(res), cells)
        else:
            assert place.cells(res).size == 1
