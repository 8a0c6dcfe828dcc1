import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.errors import CoordinateError
from satclip_index.geo.areas import Box
from satclip_index.search.geo_filters import rows_in

from .shape_cases import bbox_shape

RNG = np.random.default_rng(5)
LON = np.concatenate([RNG.uniform(-180, 180, 3000), [-180.0, 180.0, 10.0, -170.0, 170.0]])
LAT = np.concatenate([np.degrees(np.arcsin(RNG.uniform(-1, 1, 3000))), [0.0, 0.0, 20.0, -20.0, 20.0]])


@pytest.mark.parametrize(
    "box",
    [
        (-10, -20, 10, 20),
        (170, -20, -170, 20),
        (-170, -20, 170, 20),
        (-100, -20, 100, 60),
        (200, 0, 340, 9),
        (0, -9, 360, 9),
    ],
)
def test_a_bbox_holds_what_lies_in_it(box):
    west, south, east, north = box
    expected = (
        ((LON - west) % 360 <= (east - west if west < east else (east - west) % 360)) & (south <= LAT) & (north >= LAT)
    )
    np.testing.assert_array_equal(Box(*box).holds(LON, LAT), expected)


@pytest.mark.parametrize(
    ("box", "same"),
    [
        ((170, -20, -170, 20), (170, -20, 190, 20)),
        ((350, -20, 10, 20), (-10, -20, 10, 20)),
        ((360, -20, -180, 20), (0, -20, 180, 20)),
        ((180, -20, 200, 20), (-180, -20, -160, 20)),
        ((1, -20, 0, 20), (1, -20, 360, 20)),
        ((-170, -20, 190, 20), (-180, -20, 180, 20)),
        ((-180, -20, 360, 20), (-180, -20, 180, 20)),
        (("-10", "-20", "10", "20"), (-10, -20, 10, 20)),
    ],
)
def test_a_bbox_goes_east_from_west_whatever_the_notation(box, same):
    np.testing.assert_array_equal(Box(*box).holds(LON, LAT), Box(*same).holds(LON, LAT))


@pytest.mark.parametrize(
    ("box", "wrong"),
    [
        ((0, 10, 20, 10), "south is not below north"),
        ((0, 20, 20, 10), "south is not below north"),
        ((5, 0, 5, 10), "west equals east"),
        ((180, 0, -180, 10), "west equals east"),
        ((360, 0, 0, 10), "west equals east"),
        ((-181, 0, 0, 10), "is out of range"),
        ((0, 0, 361, 10), "is out of range"),
        ((0, -91, 10, 10), "is out of range"),
        ((0, 0, 10, 100), "is out of range"),
        ((0, 0, float("nan"), 10), "is out of range"),
        ((0, float("-inf"), 10, 10), "is out of range"),
        (("a", 0, 10, 10), "is out of range"),
        ((None, 0, 10, 10), "is out of range"),
    ],
)
def test_what_is_no_bbox_is_refused_with_what_is_wrong(box, wrong):
    with pytest.raises(CoordinateError, match=f"is not a box: .*{wrong}.*W,S,E,N") as caught:
        Box(*box)
    assert "\n" not in str(caught.value)


SIDES = st.tuples(
    st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 0.0]),
    st.floats(-90, 89) | st.sampled_from([-90.0, 60.0]),
    st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 0.0]),
    st.floats(-90, 90) | st.just(90.0),
)


@given(SIDES)
def test_the_rows_in_a_box_are_those_whose_centres_shapely_finds_in_it(atlas, sides):
    west, south, east, north = sides
    if south >= north or (west - east) % 360 == 0:
        return
    index = atlas.index(2)
    held = np.zeros(len(index), dtype=bool)
    for start, stop in rows_in(index.tree, Box(*sides)):
        held[start:stop] = True
    points = index.tree.rows.point
    lon, lat = np.degrees(np.arctan2(points[:, 1], points[:, 0])), np.degrees(np.arcsin(np.clip(points[:, 2], -1, 1)))
    shape = bbox_shape(*sides)
    differing = np.flatnonzero(held != shapely.intersects_xy(shape, lon, lat))
    assert all(shapely.distance(shape.boundary, shapely.Point(lon[i], lat[i])) < 1e-9 for i in differing)
