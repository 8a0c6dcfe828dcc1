"""Every rule of ``like``, in every combination, against looking at every row."""

import json

import h3
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from satclip_index.errors import CoordinateError, PlaceError, QueryError, ResolutionError

from ..geo.shape_cases import SHAPES, country, needs_countries, stars
from ..oracles import haversine_km, similarity, stored, unit32

RECTANGLES = {  # GeoJSON, and the same as a rule on lon, lat
    "box": ([[-20, -35], [52, -35], [52, 37], [-20, 37]], lambda x, y: (x >= -20) & (x <= 52) & (y >= -35) & (y <= 37)),
    "over 180": (
        [[150, -50], [-120, -50], [-120, 60], [150, 60]],
        lambda x, y: ((x >= 150) | (x <= -120)) & (y >= -50) & (y <= 60),
    ),
    "turned": (
        [[-20, 37], [52, 37], [52, -35], [-20, -35]],
        lambda x, y: (x >= -20) & (x <= 52) & (y >= -35) & (y <= 37),
    ),
}
BOXES = {
    (-82, -56, -34, 13): lambda x, y: (x >= -82) & (x <= -34) & (y >= -56) & (y <= 13),
    (160, -90, -100, 0): lambda x, y: ((x >= 160) | (x <= -100)) & (y <= 0),
    (-180, 60, 180, 90): lambda x, y: y >= 60,
    (200, -30, 300, 40): lambda x, y: (x >= -160) & (x <= -60) & (y >= -30) & (y <= 40),
}


def geojson(name):
    points, _ = RECTANGLES[name]
    return {"type": "Polygon", "coordinates": [[*points, points[0]]]}


@pytest.fixture(scope="module")
def columns(atlas):
    return stored(atlas, 2)


def vector_at(columns, place):
    cell = int(h3.latlng_to_cell(place[1], place[0], 2), 16)
    return columns["embedding"][np.searchsorted(columns["cell"], np.uint64(cell))].astype(np.float64)


def brute(columns, query, places, *, allowed, exclude, apart, least, k):
    """Return rows and similarities, looking at every row; ``allowed`` is a mask."""
    alike = similarity(columns["embedding"], query)
    allowed = allowed & (alike >= least)
    for lon, lat in places:
        allowed &= haversine_km(columns["lon"], columns["lat"], lon, lat) >= exclude
    rows = []
    for row in np.lexsort((np.arange(alike.size), -alike)):
        if k is not None and len(rows) == k:
            break
        if allowed[row]:
            rows.append(row)
            if apart > 0:
                allowed &= (
                    haversine_km(columns["lon"], columns["lat"], columns["lon"][row], columns["lat"][row]) >= apart
                )
    rows = np.array(rows, dtype=np.int64)
    return rows, alike[rows]


@settings(max_examples=120)
@given(
    places=st.lists(
        st.tuples(st.floats(-180, 180), st.floats(-90, 90), st.sampled_from([1, 2, 0.25])), min_size=1, max_size=3
    ),
    k=st.sampled_from([None, 1, 10, 200]),
    exclude=st.sampled_from([0.0, 500.0, 4000.0]),
    apart=st.sampled_from([0.0, 300.0, 2500.0]),
    ocean=st.booleans(),
    within=st.lists(st.sampled_from(list(RECTANGLES)), max_size=2),
    outside=st.lists(st.sampled_from(list(RECTANGLES)), max_size=2),
    bbox=st.sampled_from([None, *BOXES]),
    percentile=st.sampled_from([None, 0, 50, 90, 99, 100]),
    least=st.sampled_from([None, -1, 0.2, 0.9, 1]),
)
def test_every_combination_of_rules_is_brute_force(
    atlas, columns, places, k, exclude, apart, ocean, within, outside, bbox, percentile, least
):
    lon, lat = columns["lon"], columns["lat"]
    allowed = np.ones(lon.size, bool) if ocean else columns["land"].astype(bool)
    if within:
        allowed &= np.any([RECTANGLES[name][1](lon, lat) for name in within], axis=0)
    for name in outside:
        allowed &= ~RECTANGLES[name][1](lon, lat)
    if bbox:
        allowed &= BOXES[bbox](lon, lat)
    if len(places) == 1:
        query = vector_at(columns, places[0]).astype(np.float32)
    else:
        query = unit32(np.average([vector_at(columns, p) for p in places], axis=0, weights=[p[2] for p in places]))
    entry = atlas.manifest.entry(2)
    floor = -np.inf if least is None else least
    if percentile is not None:
        at = np.interp(percentile / 100, entry.similarity_levels, entry.similarity_quantiles)
        floor = max(floor, at)
    k_brute = 10 if k is None and floor == -np.inf else k
    found = atlas.like(
        [f"{x!r},{y!r}:{w}" for x, y, w in places],
        k=k,
        res=2,
        exclude_within_km=exclude,
        apart_km=apart,
        ocean=ocean,
        within=[geojson(name) for name in within],
        outside=[geojson(name) for name in outside],
        bbox=bbox,
        min_similarity=least,
        min_percentile=percentile,
    )
    rows, alike = brute(
        columns, query, [p[:2] for p in places], allowed=allowed, exclude=exclude, apart=apart, least=floor, k=k_brute
    )
    np.testing.assert_array_equal(found.similarity, alike)
    np.testing.assert_array_equal(found.cell, columns["cell"][rows])
    assert json.loads(json.dumps(found.query))["exact"] is True


@settings(max_examples=25)
@given(shape=stars(), apart=st.sampled_from([0.0, 900.0]))
def test_any_polygon_is_what_shapely_says_of_every_centre(atlas, columns, shape, apart):
    document = json.loads(json.dumps(shapely.geometry.mapping(shape)))
    if shape.is_empty or shape.geom_type not in ("Polygon", "MultiPolygon"):
        return
    inside = shapely.intersects_xy(shape, columns["lon"], columns["lat"])
    query = vector_at(columns, (10.0, 10.0)).astype(np.float32)
    for mask, rule in ((inside, {"within": document}), (~inside, {"outside": document})):
        found = atlas.like((10.0, 10.0), res=2, k=30, exclude_within_km=0, apart_km=apart, ocean=True, **rule)
        rows, _ = brute(columns, query, [], allowed=mask, exclude=0, apart=apart, least=-np.inf, k=30)
        np.testing.assert_array_equal(found.cell, columns["cell"][rows])


@needs_countries
def test_within_a_real_country_all_answers_are_in_it_and_none_outside_it(atlas, columns, tmp_path):
    path = tmp_path / "russia.geojson"
    path.write_text(json.dumps(country("Russia")), encoding="utf-8")
    shape = shapely.geometry.shape(country("Russia")["geometry"])
    rules = {"res": 2, "exclude_within_km": 0, "apart_km": 0, "ocean": True, "min_similarity": -1}
    inside = atlas.like("Moscow", within=path, **rules)
    outside = atlas.like("Moscow", outside=str(path), **rules)
    held = shapely.intersects_xy(shape, columns["lon"], columns["lat"])
    assert set(inside.cell) == set(columns["cell"][held])
    assert set(outside.cell) == set(columns["cell"][~held])
    assert (inside.lon > 170).any()


def test_a_weight_moves_the_answer_and_is_said(atlas):
    even = atlas.like(["Nairobi", "Oslo"], res=2)
    tilted = atlas.like(["Nairobi:3", "Oslo"], res=2)
    assert even.cell.tolist() != tilted.cell.tolist()
    assert "weight 3" in tilted.query["like"][0]
    same = atlas.like(["Nairobi:2", "Oslo:2"], res=2)
    np.testing.assert_array_equal(even.cell, same.cell)


@pytest.mark.parametrize("text", ["Nairobi:0", "Nairobi:-1", "Nairobi:1e999"])
def test_a_weight_that_is_not_above_0_is_refused(atlas, text):
    with pytest.raises(PlaceError, match="expected a number above 0"):
        atlas.like(text)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"bbox": "1,2,3"}, QueryError, "expected W,S,E,N"),
        ({"bbox": "a,b,c,d"}, QueryError, "expected W,S,E,N"),
        ({"bbox": (0, 10, 5, 5)}, CoordinateError, "south is not below north"),
        ({"bbox": (0, -100, 5, 5)}, CoordinateError, "out of range"),
        ({"within": "no-such.geojson"}, PlaceError, "no-such.geojson"),
        ({"within": {"type": "Point", "coordinates": [0, 0]}}, PlaceError, "must be polygons"),
        ({"outside": {"type": "Polygon"}}, PlaceError, "not readable GeoJSON"),
        ({"min_similarity": 1.1}, QueryError, "from -1 to 1"),
        ({"min_similarity": float("nan")}, QueryError, "from -1 to 1"),
        ({"min_percentile": -1}, QueryError, "from 0 to 100"),
        ({"min_percentile": True}, QueryError, "from 0 to 100"),
        ({"zoom": 2}, QueryError, "finer than 2"),
        ({"zoom": 16}, ResolutionError, "16 is not"),
        ({"zoom": 12}, QueryError, "at most 20,000,000"),
        ({"where": "a > 1"}, QueryError, "about the rows of a table"),
        ({"table": "no-such.csv"}, Exception, "no-such.csv"),
        ({"table": "no-such.csv", "zoom": 4}, QueryError, "one or the other"),
        ({"k": 0}, QueryError, "at least 1"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(atlas, options, error, text):
    with pytest.raises(error, match=text) as caught:
        atlas.like("Nairobi", **options)
    assert "\n" not in str(caught.value)


def test_bounds_that_hold_no_cell_give_no_answer(atlas):
    assert len(atlas.like("Nairobi", bbox=(10.0, 10.0, 10.0001, 10.0001))) == 0
    assert len(atlas.like("Nairobi", bbox=(-82, -56, -34, 13), within=geojson("over 180"))) == 0


def test_an_area_as_an_example_excludes_its_surroundings_whatever_its_size(atlas, columns):
    shape = SHAPES["box"]
    document = json.loads(json.dumps(shapely.geometry.mapping(shape)))
    inside = shapely.intersects_xy(shape, columns["lon"], columns["lat"])
    assert inside.sum() > 500
    query = unit32(columns["embedding"][inside].mean(axis=0, dtype=np.float64))
    places = np.stack([columns["lon"][inside], columns["lat"][inside]], axis=1)
    found = atlas.like(document, res=2, k=50, exclude_within_km=1500, apart_km=0, ocean=True)
    rows, _ = brute(
        columns, query, places, allowed=np.ones(inside.size, bool), exclude=1500, apart=0, least=-np.inf, k=50
    )
    np.testing.assert_array_equal(found.cell, columns["cell"][rows])
