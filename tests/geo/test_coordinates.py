import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.errors import CoordinateError
from satclip_index.geo.coordinates import are_on_earth, check_coordinates, wrap_lon


def test_scalars_become_vectors_of_one():
    lon, lat = check_coordinates(36, -1)
    assert lon.shape == lat.shape == (1,)
    assert lon.dtype == lat.dtype == np.float64
    assert (lon[0], lat[0]) == (36.0, -1.0)


def test_longitudes_above_180_are_wrapped_and_180_itself_stays():
    lon, _ = check_coordinates([180, 180.5, 270, 360, -180], [0] * 5)
    assert lon.tolist() == [180.0, -179.5, -90.0, 0.0, -180.0]


def test_the_input_is_not_changed():
    given_lon = np.array([200.0, 10.0])
    check_coordinates(given_lon, [0.0, 0.0])
    assert given_lon.tolist() == [200.0, 10.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 90.001, -91])
def test_a_bad_latitude_names_its_row(bad):
    with pytest.raises(CoordinateError, match=r"1 of 3 latitudes .* at row 2.*swapped\?"):
        check_coordinates([0, 0, 0], [0, 1, bad])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 360.1, -180.5])
def test_a_bad_longitude_names_the_first_row(bad):
    with pytest.raises(CoordinateError, match=r"2 of 4 longitudes .* at row 1\."):
        check_coordinates([0, bad, 5, bad], [0] * 4)


@pytest.mark.parametrize(
    ("lon", "lat"),
    [([1, 2], [1]), ([[1]], [[1]]), ("east", 1), (None, 1), ([1, "x"], [1, 2]), ([[1], [1, 2]], [1, 2]), (1 + 2j, 0)],
)
def test_what_is_not_two_vectors_of_numbers_is_refused(lon, lat):
    with pytest.raises(CoordinateError):
        check_coordinates(lon, lat)


def test_no_points_are_fine():
    lon, lat = check_coordinates([], [])
    assert lon.size == lat.size == 0


@given(st.lists(st.tuples(st.floats(-180, 360), st.floats(-90, 90)), min_size=1))
def test_whatever_passes_is_in_range_and_the_same_place(points):
    before_lon, before_lat = map(np.array, zip(*points, strict=True))
    lon, lat = check_coordinates(before_lon, before_lat)
    assert ((lon >= -180) & (lon <= 180)).all()
    np.testing.assert_array_equal(lat, before_lat)
    np.testing.assert_allclose(np.cos(np.radians(lon)), np.cos(np.radians(before_lon)), atol=1e-12)
    np.testing.assert_allclose(np.sin(np.radians(lon)), np.sin(np.radians(before_lon)), atol=1e-12)


EDGES = [-np.inf, -181, -180, -90.001, -90, 0, 90, 90.001, 180, 360, 360.001, np.inf, np.nan]


def test_a_point_is_on_earth_exactly_if_the_check_accepts_it():
    for lon in EDGES:
        for lat in EDGES:
            try:
                check_coordinates(lon, lat)
                accepted = True
            except CoordinateError:
                accepted = False
            assert are_on_earth(np.array([lon]), np.array([lat])).tolist() == [accepted]


def test_wrapping_moves_only_longitudes_above_180():
    assert wrap_lon(np.array([-180.0, 0, 180, 180.5, 360])).tolist() == [-180, 0, 180, -179.5, 0]
