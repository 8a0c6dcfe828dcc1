import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.app._state import View
from satclip_index.app._view_geometry import NOTHING, STEPS, Steps, canvas_of, lines_in, rings_of, with_room
from satclip_index.errors import PlaceError
from satclip_index.maps.coastlines import load_outlines
from satclip_index.maps.color_scale import Scale, palette
from satclip_index.maps.heatmap import WORLD

VIEWS = st.builds(View, st.floats(-180, 180), st.floats(-90, 90), st.floats(0.05, 360))
SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 3000))


@given(VIEWS, SIZES)
def test_a_picture_holds_its_view_and_stays_small(view, size):
    (west, south, east, north), width, height = canvas_of(view, size)
    assert 1 <= width <= 1700
    assert 1 <= height <= 2200
    assert -90 <= south < north <= 90
    if (west, south, east, north) != WORLD:
        assert west <= view.lon - view.width / 2 + 1e-6 or east - west >= 360
        assert east >= view.lon + view.width / 2 - 1e-6 or east - west >= 360
        assert east - west <= 360


def test_views_of_the_world_share_one_picture():
    assert canvas_of(View(), (800, 400)) == canvas_of(View(100, 10, 330), (700, 350)) == (WORLD, 768, 384)


def test_any_similarity_has_the_number_of_its_colour_or_the_next(atlas):
    scale = Scale(atlas.manifest.entry(2))
    similarity = np.random.default_rng(0).uniform(-1, 1, 10_000).astype(np.float32)
    apart = Steps(scale).of(similarity).astype(int) - np.minimum(scale.steps(similarity), STEPS - 1)
    assert np.abs(apart).max() <= 1
    assert (apart != 0).mean() < 0.01


def test_a_closer_view_has_most_of_the_pixels_of_the_screen():
    (west, _, east, _), width, _ = canvas_of(View(30, 0, 10), (800, 400))
    assert width / (east - west) >= 800 / 10 * 0.8


def test_numbers_of_colours_are_those_of_the_scale_and_nan_is_nothing(atlas):
    scale, similarity = Scale(atlas.manifest.entry(2)), np.float32([[-1, 0.2, 0.6, 1, np.nan]])
    steps = Steps(scale).of(similarity)
    assert steps.dtype == np.uint8
    assert (palette()[steps[0, :3]] == scale.paint(similarity)[0, :3, :3]).all()
    assert steps[0, 3:].tolist() == [STEPS - 1, NOTHING]


@pytest.mark.parametrize(
    ("view", "level"), [(View(), "coarse"), (View(170, 0, 100), "fine"), (View(-179, 60, 5), "fine")]
)
def test_lines_are_those_of_the_outlines_on_every_side_of_the_antimeridian(view, level):
    lon, lat = lines_in(view)
    assert lon.dtype == lat.dtype == np.float32
    assert np.array_equal(np.isnan(lon), np.isnan(lat))
    drawn = set(zip(lon.tolist(), lat.tolist(), strict=True))
    coast = load_outlines(level)
    for turn in (-360, 0, 360):
        seen = np.abs(coast.lon + np.float32(turn) - view.lon) < min(view.width / 2, 180)
        for x, y in list(zip((coast.lon + np.float32(turn))[seen].tolist(), coast.lat[seen].tolist(), strict=True))[
            ::97
        ]:
            assert (x, y) in drawn
    assert np.nanmax(np.abs(np.diff(lon))) < 60  # nothing goes across the map


def test_an_area_over_the_antimeridian_is_drawn_without_a_line_along_it():
    box = '{"type": "Polygon", "coordinates": [[[170, -10], [-170, -10], [-170, 10], [170, 10], [170, -10]]]}'
    lon, lat = rings_of(box)
    at_edge = (lon[1:] == lon[:-1]) & (lon[1:] % 360 == 180)
    assert not at_edge.any()
    assert {-190, -180, -170, 170, 180, 190} <= set(lon[np.isfinite(lon)])
    assert set(lat[np.isfinite(lat)]) == {-10, 10}


@pytest.mark.parametrize("text", ['{"type": "Point", "coordinates": [1, 2]}', "{}", '{"type": "Polygon"}', "[]"])
def test_what_is_no_area_is_refused(text):
    with pytest.raises(PlaceError):
        rings_of(text)


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), max_size=40), st.floats(0.1, 50))
def test_pins_that_are_numbered_do_not_overlap_and_the_best_is(points, apart):
    lon, lat = np.array(points, dtype=float).reshape(-1, 2).T
    kept = np.flatnonzero(with_room(lon, lat, apart))
    assert not points or kept[0] == 0
    for i in kept:
        for j in kept[kept > i]:
            across = abs((lon[i] - lon[j] + 180) % 360 - 180)
            assert max(across, abs(lat[i] - lat[j])) >= apart
