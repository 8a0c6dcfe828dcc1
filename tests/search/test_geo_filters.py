import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satclip_index.geo import grid, sphere
from satclip_index.geo.areas import Area
from satclip_index.geo.geojson_shapes import read_shape
from satclip_index.search.geo_filters import (
    away_from,
    complement,
    disks,
    intersection,
    ranges_of,
    rows_in,
    union,
)

from ..geo.shape_cases import SHAPES, bbox_shape, country, needs_countries, shapes_through, stars
from ..oracles import haversine_km

TREES = ["smooth, res 0", "smooth, res 1", "smooth, res 2", "smooth, res 3", "thinned, res 3", "a few rows, res 3"]
MASKS = st.integers(1, 4).flatmap(
    lambda n: st.integers(0, 40).flatmap(
        lambda size: st.lists(st.lists(st.booleans(), min_size=size, max_size=size), min_size=n, max_size=n)
    )
)


def scan(tree, shape):
    """Return the rows whose centres a shape covers, by looking at every row."""
    return ranges_of(shapely.intersects_xy(shape, *grid.cell_centers(tree.rows.cell)))


@given(st.lists(st.booleans(), max_size=60))
def test_ranges_are_the_runs_of_a_mask(mask):
    ranges = ranges_of(np.array(mask, dtype=bool))
    again = np.zeros(len(mask), bool)
    for start, stop in ranges:
        assert start < stop
        assert not again[start:stop].any()
        again[start:stop] = True
    assert again.tolist() == mask
    assert (ranges[1:, 0] > ranges[:-1, 1]).all(), "sorted, and a gap between each"


@pytest.mark.parametrize(("lon", "lat"), [(36.8, -1.3), (180.0, 10.0), (-180.0, 10.0), (0.0, 90.0), (77.0, -90.0)])
@pytest.mark.parametrize("radius_km", [0.5, 500, 9000])
def test_a_disk_holds_what_the_haversine_says(lon, lat, radius_km):
    rng = np.random.default_rng(0)
    to_lon, to_lat = rng.uniform(-180, 180, 500), rng.uniform(-90, 90, 500)
    disk = disks(np.array([lon]), np.array([lat]), radius_km)
    cosine = sphere.unit_vectors(to_lon, to_lat) @ disk[0, :3]
    inside = np.arccos(np.clip(cosine, -1, 1)) < disk[0, 3]
    np.testing.assert_array_equal(inside, haversine_km(to_lon, to_lat, lon, lat) < radius_km)


def test_a_radius_of_nothing_is_no_disk():
    assert disks(np.array([1.0]), np.array([2.0]), 0.0).shape == (0, 4)


@given(MASKS)
def test_the_algebra_of_ranges_is_that_of_masks(masks):
    masks = np.array(masks, dtype=bool)
    parts = [ranges_of(mask) for mask in masks]
    for found, mask in (
        (union(*parts), masks.any(axis=0)),
        (intersection(*parts), masks.all(axis=0)),
        (complement(parts[0], masks.shape[1]), ~masks[0]),
    ):
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, ranges_of(mask))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=20))
def test_a_union_sorts_and_merges_ranges_that_touch_overlap_or_are_empty(pairs):
    ranges = np.array([(start, start + length) for start, length in pairs], dtype=np.int64).reshape(-1, 2)
    mask = np.zeros(60, bool)
    for start, stop in ranges:
        mask[start:stop] = True
    np.testing.assert_array_equal(union(ranges), ranges_of(mask))


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("name", SHAPES)
def test_rows_inside_a_shape_are_those_whose_centre_it_covers(cases, tree, name):
    tree, shape = cases(tree).tree, SHAPES[name]
    np.testing.assert_array_equal(rows_in(tree, Area(shape)), scan(tree, shape))


@pytest.mark.parametrize("tree", TREES[1:])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=stars())
def test_rows_inside_any_shape_are_those_whose_centre_it_covers(cases, tree, shape):
    tree = cases(tree).tree
    np.testing.assert_array_equal(rows_in(tree, Area(shape)), scan(tree, shape))


@given(data=st.data())
def test_rows_on_the_very_edge_of_a_shape_are_inside(cases, data):
    tree = cases("smooth, res 2").tree
    shape = data.draw(shapes_through(tree.rows.cell))
    np.testing.assert_array_equal(rows_in(tree, Area(shape)), scan(tree, shape))


def test_rows_of_a_land_only_atlas_inside_a_shape_are_those_whose_centre_it_covers(land_atlas):
    for res in (1, 2):
        tree = land_atlas.index(res).tree
        for shape in SHAPES.values():
            np.testing.assert_array_equal(rows_in(tree, Area(shape)), scan(tree, shape))


def test_a_shape_without_a_row_is_no_ranges_and_the_earth_is_one(cases):
    tree = cases("smooth, res 3").tree
    assert rows_in(tree, Area(SHAPES["tiny"])).shape == (0, 2)
    assert rows_in(tree, Area(SHAPES["the Earth"])).tolist() == [[0, tree.rows.cell.size]]


class Counting(Area):
    """An area that counts what it is asked."""

    points = caps = 0

    def holds(self, lon, lat):
        self.points += lon.size
        return super().holds(lon, lat)

    def holds_caps(self, lon, lat, reach_rad):
        self.caps += lon.size
        return super().holds_caps(lon, lat, reach_rad)


@pytest.mark.parametrize(("shape", "share"), [(bbox_shape(30, -5, 40, 5), 0.01), (bbox_shape(-90, -60, 90, 60), 0.06)])
def test_only_rows_near_the_edge_of_a_shape_are_looked_at(cases, shape, share):
    tree, area = cases("smooth, res 3").tree, Counting(shape)
    np.testing.assert_array_equal(rows_in(tree, area), scan(tree, shape))
    assert 0 < area.points < share * tree.rows.cell.size
    assert area.caps < share * tree.rows.cell.size


@pytest.mark.shared
@needs_countries
@pytest.mark.parametrize("name", ["Russia", "Fiji", "Antarctica", "Brazil"])
def test_rows_inside_a_country_are_those_whose_centre_it_covers(cases, name):
    shape = read_shape(country(name))
    for tree in (cases(case).tree for case in TREES):
        np.testing.assert_array_equal(rows_in(tree, Area(shape)), scan(tree, shape))


def test_rows_away_from_many_points_are_those_far_from_each(atlas):
    tree = atlas.index(2).tree
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-180, 180, 40), rng.uniform(-90, 90, 40)
    centre_lon, centre_lat = grid.cell_centers(tree.rows.cell)
    nearest = haversine_km(centre_lon[:, None], centre_lat[:, None], lon, lat).min(axis=1)
    found = away_from(tree, sphere.PointSet(lon, lat), 900.0)
    np.testing.assert_array_equal(found, ranges_of(nearest >= 900.0))


@pytest.mark.parametrize("tree", TREES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(
    points=st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=50),
    radius_km=st.sampled_from([0.0, 0.5, 400.0, 6000.0, 20_000.0, 20_015.2]),
)
def test_rows_away_from_any_points_are_those_the_distance_says(cases, tree, points, radius_km):
    tree, points = cases(tree).tree, sphere.PointSet(*np.array(points).T)
    expected = ranges_of(points.distance_km(*grid.cell_centers(tree.rows.cell)) >= radius_km)
    np.testing.assert_array_equal(away_from(tree, points, radius_km), expected)


def test_a_row_at_exactly_the_radius_is_away(cases):
    tree = cases("smooth, res 3").tree
    lon, lat = grid.cell_centers(tree.rows.cell)
    points = sphere.PointSet(lon[:40], lat[:40])
    distance = points.distance_km(lon, lat)
    for radius_km in distance[[500, 20_000, 41_000]]:
        np.testing.assert_array_equal(away_from(tree, points, radius_km), ranges_of(distance >= radius_km))
