import json
from pathlib import Path

import h3
import numpy as np
import pytest

from satclip_index.errors import CoordinateError, InvalidCellError, PlaceError, SatclipIndexError
from satclip_index.geo.places import Place, format_lonlat

CELL = h3.latlng_to_cell(-1.29, 36.82, 3)
SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]]]}
SPECK = {"type": "Polygon", "coordinates": [[[10, 10], [10.001, 10], [10.001, 10.001], [10, 10.001], [10, 10]]]}


def point_of(place):
    return tuple(float(values[0]) for values in place.points)


@pytest.mark.parametrize(
    ("value", "point"),
    [
        ((36.82, -1.29), (36.82, -1.29)),
        ([200, -15], (-160.0, -15.0)),
        (np.array([1.5, 2.5]).tolist(), (1.5, 2.5)),
        ("36.82,-1.29", (36.82, -1.29)),
        (" -70.5 , -33.4 ", (-70.5, -33.4)),
        ("-70.5 -33.4", (-70.5, -33.4)),
        ("+1e1,.5", (10.0, 0.5)),
        ("0,90", (0.0, 90.0)),
        ("-180,-90", (-180.0, -90.0)),
        ("359.5,0", (-0.5, 0.0)),
        ({"type": "Point", "coordinates": [12, -7]}, (12.0, -7.0)),
        ({"type": "Point", "coordinates": [12, -7, 300]}, (12.0, -7.0)),
    ],
)
def test_a_point_in_any_form_is_that_point(value, point):
    place = Place.of(value)
    assert point_of(place) == pytest.approx(point)
    assert place.cell is None
    assert place.area is None


@pytest.mark.parametrize("value", [CELL, CELL.upper(), f"0x{CELL}", int(CELL, 16), np.uint64(int(CELL, 16))])
def test_a_cell_in_any_form_is_that_cell(value):
    place = Place.of(value)
    assert place.cell == int(CELL, 16)
    assert place.points is None
    assert CELL in place.label


def test_a_place_is_itself():
    place = Place.of("Nairobi")
    assert Place.of(place) is place


def test_a_city_says_what_it_was_taken_for_and_what_else_it_could_be():
    text = Place.of("Springfield, US").describe(3)
    assert text.startswith("Springfield, MO, US: 93.30 W 37.22 N, cell 83")
    assert "also: Springfield, MA, US" in text
    assert "also" not in Place.of("Nairobi, KE").describe(2)


def test_a_swapped_pair_shows_at_once():
    assert Place.of("-1.29,36.82").describe(3).startswith("1.29 W 36.82 N")
    assert format_lonlat(36.82, -1.29) == "36.82 E 1.29 S"


@pytest.mark.parametrize("res", [0, 2, 3, 5])
def test_the_cells_of_a_cell_are_itself_its_ancestor_or_its_descendants(res):
    cells = [f"{int(cell):x}" for cell in Place.of(CELL).cells(res)]
    expected = [h3.cell_to_parent(CELL, res)] if res <= 3 else sorted(h3.cell_to_children(CELL, res))
    assert cells == expected


@pytest.mark.parametrize("pentagon", h3.get_pentagons(1)[:4])
def test_the_cells_of_a_pentagon_are_its_six_children(pentagon):
    assert [f"{int(c):x}" for c in Place.of(pentagon).cells(2)] == sorted(h3.cell_to_children(pentagon, 2))


@pytest.mark.parametrize("res", [0, 3, 9])
def test_the_cell_of_a_point_is_the_one_it_lies_in(res):
    assert [f"{int(c):x}" for c in Place.of((36.82, -1.29)).cells(res)] == [h3.latlng_to_cell(-1.29, 36.82, res)]


def test_the_cells_of_several_points_are_each_once():
    place = Place.of({"type": "MultiPoint", "coordinates": [[10, 10], [10.0001, 10], [-120, 50]]})
    assert len(place.cells(2)) == 2
    assert place.locations(2)[0].tolist() == [10, 10.0001, -120]
    assert "3 points" in place.describe(2)


def test_the_cells_of_an_area_are_those_whose_centres_it_covers():
    cells = {f"{int(c):x}" for c in Place.of(SQUARE).cells(2)}
    expected = set()
    for base in h3.get_res0_cells():
        for cell in h3.cell_to_children(base, 2):
            lat, lon = h3.cell_to_latlng(cell)
            if 0 <= lon <= 20 and 0 <= lat <= 20:
                expected.add(cell)
    assert cells == expected
    assert len(cells) > 20
    assert f"{len(cells)} cells of res 2" in Place.of(SQUARE).describe(2)


def test_an_area_too_small_for_a_centre_is_the_cell_it_lies_in():
    assert [f"{int(c):x}" for c in Place.of(SPECK).cells(2)] == [h3.latlng_to_cell(10.0005, 10.0005, 2)]


def test_a_file_is_read_by_its_path_or_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": SQUARE}))
    monkeypatch.chdir(tmp_path)
    for value in (Path("area.geojson"), "area.geojson", str(tmp_path / "area.geojson")):
        place = Place.of(value)
        assert place.area.area == pytest.approx(400)
        assert place.label.startswith("area.geojson: area around")


@pytest.mark.parametrize("value", ["missing.geojson", "no/where.JSON", "", "   ", None, 1.5, True, b"x", (1, 2, 3), {}])
def test_what_is_no_place_is_refused_in_one_line(value):
    with pytest.raises(PlaceError) as caught:
        Place.of(value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["36,91", "-36,-90.5", "361,0", (0, 100), (float("nan"), 0), ("a", "b")])
def test_a_pair_off_the_earth_says_what_a_pair_should_be(value):
    with pytest.raises(CoordinateError, match=r"lon,lat in degrees.*swapped\?"):
        Place.of(value)


@pytest.mark.parametrize("value", [0, -1, 2**64, 2**70, int(CELL, 16) + 1, CELL[:-1] + "0", "f" * 15])
def test_a_number_or_text_that_is_no_cell_is_refused(value):
    with pytest.raises(InvalidCellError):
        Place.of(value)


@pytest.mark.parametrize("value", ["./" + "a" * 300, "a" * 300 + ".json", "a" * 5000, "x/y\0z", "q\nqzz", "[[["])
def test_odd_text_is_refused_in_one_line(value):
    with pytest.raises(SatclipIndexError) as caught:
        Place.of(value)
    assert "\n" not in str(caught.value)
