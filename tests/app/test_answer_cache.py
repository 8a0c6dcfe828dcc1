import numpy as np
import pytest

from satclip_index.app._answer_cache import AnswerCache
from satclip_index.app._state import Example, State, View
from satclip_index.app._view_geometry import NOTHING, STEPS
from satclip_index.errors import PlaceError, QueryError
from satclip_index.geo import grid
from satclip_index.maps.color_scale import Scale

LIMA = State((Example("Lima"),), exclude_within_km=500, apart_km=300)


@pytest.fixture(scope="module")
def answers(atlas):
    return AnswerCache(atlas)


def test_an_answer_is_that_of_like(answers, atlas):
    state = State((Example("Nairobi", 2.0), Example("36,1"), Example("Cairo", unlike=True)), k=7, ocean=True)
    answer = answers.answer(state)
    expected = atlas.like(["Nairobi:2", (36, 1)], unlike="Cairo", k=7, ocean=True, exclude_within_km=2000, apart_km=500)
    assert answer.places.cell.tolist() == expected.cell.tolist()
    assert answer.places.similarity.tolist() == expected.similarity.tolist()
    assert answer.labels[0].startswith("Nairobi, KE")
    assert answer.points[1] == (36.0, 1.0)


def test_what_is_asked_again_is_not_computed_again(answers):
    first = answers.answer(LIMA)
    again = answers.answer(State(LIMA.examples, exclude_within_km=500, apart_km=300, view=View(1, 2, 3)))
    assert again.places is first.places
    assert again.state.view == View(1, 2, 3)
    assert answers.picture(first, View(), (800, 400)) is answers.picture(again, View(), (800, 400))


def test_rules_change_no_picture_and_examples_do(answers):
    one = answers.picture(answers.answer(LIMA), View(), (400, 200))
    assert answers.picture(answers.answer(State(LIMA.examples, k=3)), View(), (400, 200)) is one
    other = answers.picture(answers.answer(State((Example("Cairo"),))), View(), (400, 200))
    assert not np.array_equal(one.steps, other.steps)


@pytest.mark.parametrize("view", [View(), View(-77, -12, 30), View(180, 10, 60), View(0, 89, 90)])
def test_a_pixel_has_the_colour_of_its_cell_south_up(answers, atlas, view):
    answer = answers.answer(LIMA)
    picture = answers.picture(answer, view, (400, 200))
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


def test_what_lies_at_a_point_is_what_like_says_of_it(answers, atlas):
    answer = answers.answer(LIMA)
    found = answers.at(answer, float(answer.places.lon[0]), float(answer.places.lat[0]))
    assert int(found["cell"], 16) == answer.places.cell[0]
    assert found["similarity"] == pytest.approx(float(answer.places.similarity[0]), abs=1e-6)
    assert found["percentile"] == pytest.approx(float(answer.places.percentile[0]), abs=1e-3)


def test_a_land_atlas_has_nothing_at_sea(land_atlas):
    answers = AnswerCache(land_atlas)
    answer = answers.answer(LIMA)
    assert "similarity" not in answers.at(answer, -140.0, -40.0)
    picture = answers.picture(answer, View(), (400, 200))
    share = (picture.steps == NOTHING).mean()
    assert 0.4 < share < 0.8


def test_examples_that_are_only_unlike_are_no_question(answers):
    with pytest.raises(QueryError, match="add a place to be like"):
        answers.answer(State((Example("Cairo", unlike=True),)))
    with pytest.raises(PlaceError, match="Did you mean Nairobi"):
        answers.answer(State((Example("Nairobbi"),)))
