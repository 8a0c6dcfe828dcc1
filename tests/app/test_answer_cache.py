import numpy as np
import pytest

from satclip_index.app._answer_cache import Desk
from satclip_index.app._state import Example, State, View
from satclip_index.app._view_geometry import NOTHING, STEPS
from satclip_index.errors import PlaceError, QueryError
from satclip_index.geo import grid
from satclip_index.maps.color_scale import Scale

LIMA = State((Example("Lima"),), exclude_within_km=500, apart_km=300)


@pytest.fixture(scope="module")
def desk(atlas):
    return Desk(atlas)


def test_an_answer_is_that_of_like(desk, atlas):
    state = State((Example("Nairobi", 2.0), Example("36,1"), Example("Cairo", unlike=True)), k=7, ocean=True)
    answer = desk.answer(state)
    expected = atlas.like(["Nairobi:2", (36, 1)], unlike="Cairo", k=7, ocean=True, exclude_within_km=2000, apart_km=500)
    assert answer.places.cell.tolist() == expected.cell.tolist()
    assert answer.places.similarity.tolist() == expected.similarity.tolist()
    assert answer.labels[0].startswith("Nairobi, KE")
    assert answer.points[1] == (36.0, 1.0)


def test_what_is_asked_again_is_not_computed_again(desk):
    first = desk.answer(LIMA)
    again = desk.answer(State(LIMA.examples, exclude_within_km=500, apart_km=300, view=View(1, 2, 3)))
    assert again.places is first.places
    assert again.state.view == View(1, 2, 3)
    assert desk.picture(first, View(), (800, 400)) is desk.picture(again, View(), (800, 400))


def test_rules_change_no_picture_and_examples_do(desk):
    one = desk.picture(desk.answer(LIMA), View(), (400, 200))
    assert desk.picture(desk.answer(State(LIMA.examples, k=3)), View(), (400, 200)) is one
    other = desk.picture(desk.answer(State((Example("Cairo"),))), View(), (400, 200))
    assert not np.array_equal(one.steps, other.steps)


@pytest.mark.parametrize("view", [View(), View(-77, -12, 30), View(180, 10, 60), View(0, 89, 90)])
def test_a_pixel_has_the_colour_of_its_cell_south_up(desk, atlas, view):
    answer = desk.answer(LIMA)
    picture = desk.picture(answer, view, (400, 200))
    (west, south, east, north), width, height = picture.canvas
    assert picture.steps.shape == (height, width)
    query = atlas.query_vector("Lima", res=2).astype(np.float64)
    scale, rng = Scale(atlas.manifest.entry(picture.res)), np.random.default_rng(0)
    for row, column in zip(rng.integers(0, height, 60), rng.integers(0, width, 60), strict=True):
        lon = west + (column + 0.5) * (east - west) / width
        lat = south + (row + 0.5) * (north - south) / height
        cell = grid.cells_of_points((lon + 180) % 360 - 180, lat, picture.res)
        similarity = (atlas.vectors_of(cell, np.float64) @ query).astype(np.float32)
        assert abs(int(picture.steps[row, column]) - min(scale.steps(similarity)[0], STEPS - 1)) <= 1


def test_what_lies_at_a_point_is_what_like_says_of_it(desk, atlas):
    answer = desk.answer(LIMA)
    found = desk.at(answer, float(answer.places.lon[0]), float(answer.places.lat[0]))
    assert int(found["cell"], 16) == answer.places.cell[0]
    assert found["similarity"] == pytest.approx(float(answer.places.similarity[0]), abs=1e-6)
    assert found["percentile"] == pytest.approx(float(answer.places.percentile[0]), abs=1e-3)


def test_a_land_atlas_has_nothing_at_sea(land_atlas):
    desk = Desk(land_atlas)
    answer = desk.answer(LIMA)
    assert "similarity" not in desk.at(answer, -140.0, -40.0)
    picture = desk.picture(answer, View(), (400, 200))
    share = (picture.steps == NOTHING).mean()
    assert 0.4 < share < 0.8


def test_examples_that_are_only_unlike_are_no_question(desk):
    with pytest.raises(QueryError, match="add a place to be like"):
        desk.answer(State((Example("Cairo", unlike=True),)))
    with pytest.raises(PlaceError, match="Did you mean Nairobi"):
        desk.answer(State((Example("Nairobbi"),)))
