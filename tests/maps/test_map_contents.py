import sys
from pathlib import Path

import numpy as np
import pytest

from satclip_index.errors import MissingExtraError, OutputError
from satclip_index.maps.captions import subtitle_of, title_of
from satclip_index.maps.map_contents import Example, Picture, check_map_path, join_lines, lines_of_geojson

NOWHERE = np.empty(0)


def example(name, wanted=True, lon=0.0, lat=0.0):
    return Example(name, np.array([lon]), np.array([lat]), wanted)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["Nairobi, KE"], "Places like Nairobi, KE"),
        (["A", "B"], "Places like A and B"),
        (["A", "B", "C"], "Places like A, B and C"),
        (["A", "B", "C", "D", "E"], "Places like A, B, C and 2 more"),
    ],
)
def test_a_headline_names_the_examples(names, said):
    assert title_of({}, [example(name) for name in names]) == said


def test_a_headline_says_what_they_are_and_what_they_are_unlike():
    both = [example("A"), example("B", wanted=False), example("C", wanted=False)]
    assert title_of({"regions": 3}, both) == "Regions like A, unlike B and C"
    assert title_of({"table": {}}, both[:1]) == "Rows like A"
    assert title_of({"unusual": "x"}, []) == "Like nothing else on Earth"


def test_the_line_below_says_which_answers_these_are(atlas):
    within = {"type": "Polygon", "coordinates": [[[20, -10], [50, -10], [50, 10], [20, 10], [20, -10]]]}
    found = atlas.like("Nairobi", k=3, within=within, bbox=(0, -40, 50, 40), min_similarity=-0.5)
    assert subtitle_of(found.query, len(found)) == (
        f"The {len(found)} most alike places on land, at least 500 km away, 300 km apart, within an area, in the box "
        "0, -40, 50, 40, similarity -0.500 or more"
    )
    plain = atlas.like("Nairobi", k=2, exclude_within_km=0, apart_km=0, ocean=True)
    assert subtitle_of(plain.query, len(plain)) == "The 2 most alike places"
    lone = atlas.unusual(res=1, k=2)
    said = "The 2 places on land whose best match beyond 1,000 km is worst, 300 km apart"
    assert subtitle_of(lone.query, len(lone)) == said
    regions = atlas.regions("Nairobi", k=2)
    assert subtitle_of(regions.query, 2).startswith(
        "The 2 most alike regions on land, at least 500 km away, similarity"
    )


def test_the_line_below_names_a_table_and_its_condition(atlas, tmp_path):
    (tmp_path / "towns.csv").write_text("lon,lat,n\n1,2,3\n-60,-10,4\n")
    found = atlas.like("Nairobi", table=tmp_path / "towns.csv", where="n > 3")
    assert subtitle_of(found.query, len(found)).startswith("The 1 most alike rows of towns.csv where n > 3, at least")


def test_lines_are_joined_with_gaps_and_parted_where_they_follow_the_antimeridian():
    ring = np.array([(170.0, 0), (180, 0), (180, 5), (170, 5), (170, 0)])
    points = join_lines([ring, ring[:2]])
    gaps = np.isnan(points).all(axis=1)
    np.testing.assert_array_equal(points[~gaps], np.vstack([ring, ring[:2]]))
    assert gaps.tolist() == [False, False, True, False, False, False, True, False, False, True]
    assert join_lines([]).shape == (0, 2)


def test_a_map_shows_every_turn_of_longitude_that_its_bounds_span():
    def shown(west, east):
        return Picture("", "", "", (west, 0.0, east, 10.0), 10, 10)

    assert shown(-180.0, 180.0).shifts() == [0.0]
    assert shown(100.0, 260.0).shifts() == [0.0, 360.0]
    assert shown(-200.0, -170.0).shifts() == [-360.0, 0.0]
    assert shown(100.0, 260.0).turned(np.array([-170.0, 170.0, 100.0, 460.0])).tolist() == [190.0, 170.0, 100.0, 100.0]
    assert shown(-180.0, 180.0).turned(np.array([-180.0, -0.5, 179.5])).tolist() == [-180.0, -0.5, 179.5]


def test_pins_name_the_examples_first_and_then_the_answers_in_view():
    lon, lat = np.array([10.0, 100.0, 170.0]), np.array([5.0, 5.0, 80.0])
    seen = Picture(
        "", "", "", (0.0, -10.0, 180.0, 10.0), 900, 100, examples=(example("A", lon=50.0),), lon=lon, lat=lat
    )
    pins = seen.pins()
    assert [(pin.text, pin.is_rank, pin.lon) for pin in pins] == [
        ("A", False, 50.0),
        ("1", True, 10.0),
        ("2", True, 100.0),
    ]
    assert (
        Picture("", "", "", (0.0, 0.0, 1.0, 1.0), 10, 10, examples=(Example("A", NOWHERE, NOWHERE, True),)).pins() == []
    )


def test_outlines_of_regions_are_rings():
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    assert len(lines_of_geojson({"type": "Polygon", "coordinates": [ring, ring]})) == 2
    (line,) = lines_of_geojson({"type": "MultiPolygon", "coordinates": [[ring]]})
    np.testing.assert_array_equal(line, ring)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("map.gif", "end the name in .png, .svg, .html"),
        ("map", "end the name in"),
        ("none/map.png", "there is no folder"),
        ("folder.png", "that is a folder"),
    ],
)
def test_where_no_map_can_be_written_is_said_beforehand(tmp_path, name, said):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match=said):
        check_map_path(tmp_path / name)


def test_a_library_that_is_missing_is_named_with_its_remedy(tmp_path, monkeypatch):
    for name, library in (("a.png", "matplotlib"), ("a.SVG", "matplotlib"), ("a.html", "bokeh")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(MissingExtraError, match=rf"needs {library}.*satclip-index\[map\]"):
            check_map_path(Path(tmp_path / name))
