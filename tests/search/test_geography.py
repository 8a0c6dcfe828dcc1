import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index import grid
from satclip_index.search.geography import away_from, disks, ranges_of

from ..oracles import haversine_km


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
    cosine = grid.unit_vectors(to_lon, to_lat) @ disk[0, :3]
    inside = np.arccos(np.clip(cosine, -1, 1)) < disk[0, 3]
    np.testing.assert_array_equal(inside, haversine_km(to_lon, to_lat, lon, lat) < radius_km)


def test_a_radius_of_nothing_is_no_disk():
    assert disks(np.array([1.0]), np.array([2.0]), 0.0).shape == (0, 4)


def test_rows_away_from_many_points_are_those_far_from_each(atlas):
    index = atlas.index(2)
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-180, 180, 40), rng.uniform(-90, 90, 40)
    centre_lon, centre_lat = grid.cell_centers(index.cells)
    nearest = haversine_km(centre_lon[:, None], centre_lat[:, None], lon, lat).min(axis=1)
    found = away_from(index.tree, grid.PointSet(lon, lat), 900.0)
    np.testing.assert_array_equal(found, ranges_of(nearest >= 900.0))
