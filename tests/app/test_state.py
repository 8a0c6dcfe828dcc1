from urllib.parse import parse_qs

import pytest
from hypothesis import given

from satclip_index.app._state import LONGEST_LINK_AREA, Example, State, View, read_area
from satclip_index.errors import PlaceError, QueryError

from .cases import states


@given(states())
def test_a_link_gives_back_the_state_it_was_made_of(state):
    assert State.of_link(parse_qs(state.to_link())) == state


def test_a_link_says_only_what_differs_from_the_beginning():
    assert State().to_link() == ""
    assert State((Example("Nairobi"),), exclude_within_km=100).to_link() == "like=Nairobi&exclude=100"


def test_a_large_area_is_left_out_of_a_link():
    area = '{"type":"Polygon","coordinates":[[' + ",".join(["[1,1]"] * LONGEST_LINK_AREA) + "]]}"
    assert State(within=area, within_name="big.geojson").to_link() == ""


def test_view_and_the_name_of_an_area_change_no_question():
    state = State((Example("Nairobi"),), within="{}", within_name="a.geojson", view=View(10, 20, 30))
    assert state.question == State((Example("Nairobi"),), within="{}")


@pytest.mark.parametrize(
    ("text", "place", "weight"),
    [
        ("Nairobi", "Nairobi", 1),
        (" Nairobi : 2 ", "Nairobi", 2),
        ("36.8,-1.3:0.5", "36.8,-1.3", 0.5),
        ("a:b", "a:b", 1),
        (":2", ":2", 1),
    ],
)
def test_an_example_reads_its_weight_off_its_end(text, place, weight):
    example = Example.of(text)
    assert (example.place, example.weight) == (place, weight)
    assert Example.of(example.text) == example


def test_examples_to_be_like_come_first():
    state = State((Example("Cairo", unlike=True), Example("Nairobi")))
    assert [example.place for example in state.examples] == ["Nairobi", "Cairo"]
    assert (state.like(), state.unlike()) == (["Nairobi"], ["Cairo"])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("k=0", "k is 0; expected a whole number from 1 to 200"),
        ("k=1.5", "k is 1.5; expected a whole number"),
        ("k=1e9", "k is 1000000000"),
        ("exclude=-1", "exclude is -1"),
        ("exclude=nan", "exclude is 'nan'; expected a number"),
        ("exclude=far", "exclude is 'far'; expected a number"),
        ("min=2", "min is 2; expected a number from -1 to 1"),
        ("res=99", "res is 99"),
        ("at=1,2", "expected lon,lat,width"),
        ("at=1,2,0", "not a view of the Earth"),
        ("at=1,95,20", "not a view of the Earth"),
        ("like=Nairobi:0", "weight of 0"),
        ("like=" + "x" * 201, "expected one line of at most 200"),
        ("where=a%0Ab", "expected one line"),
        ("&".join(["like=Nairobi"] * 51), "51 examples"),
    ],
)
def test_a_link_that_says_nonsense_is_refused_with_what_was_expected(query, said):
    with pytest.raises(QueryError, match=said):
        State.of_link(parse_qs(query))


def test_an_empty_example_is_refused():
    with pytest.raises(PlaceError, match="empty"):
        Example.of("  ")


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", "[" * 100_000, "null"])
def test_what_is_not_a_json_object_is_no_area(text):
    with pytest.raises(PlaceError, match="GeoJSON"):
        read_area(text)
