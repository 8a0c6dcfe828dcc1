import json

import numpy as np
import pytest
import shapely

from satclip_index.errors import PlaceError
from satclip_index.geo.geojson_shapes import compare_boxes, contains_points, read_shape
from satclip_index.geo.places import Place

from ..oracles import haversine_km

RNG = np.random.default_rng(0)
LON = np.concatenate([RNG.uniform(-180, 180, 3000), [-179.999, 179.999, 0.001]])
LAT = np.concatenate([np.degrees(np.arcsin(RNG.uniform(-1, 1, 3000))), [0.5, 0.5, 0.5]])


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [[list(point) for point in ring] for ring in rings]}


def ring(west, south, east, north):
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


def inside(document):
    return shapely.intersects_xy(read_shape(document), LON, LAT)


def in_box(west, south, east, north):
    """Return which test points lie in a box; east may exceed 180."""
    return ((LON - west) % 360 <= east - west) & (south <= LAT) & (north >= LAT)


def circle(lon, lat, km, points=200):
    """Return a ring at a distance from a point, by the direct formula on the sphere."""
    bearing = np.radians(np.linspace(0, 360, points + 1))[:-1]
    angle, lat0 = km / 6371.0088, np.radians(lat)
    lats = np.arcsin(np.sin(lat0) * np.cos(angle) + np.cos(lat0) * np.sin(angle) * np.cos(bearing))
    east = np.arctan2(np.sin(bearing) * np.sin(angle) * np.cos(lat0), np.cos(angle) - np.sin(lat0) * np.sin(lats))
    lons = (np.degrees(bearing if abs(lat) == 90 else east) + lon + 180) % 360 - 180
    found = list(zip(lons.tolist(), np.degrees(lats).tolist(), strict=True))
    return [*found, found[0]]


BOXES = [
    (0, 0, 20, 20),
    (-30, -60, 100, 10),
    (-90, -10, 90, 10),
    (0, -10, 180, 10),
    (-180, -10, 0, 10),
    (170, -20, 190, 20),
    (170, -20, 300, 20),
    (-180, -23, 180, 23),
    (-180, 60, 180, 90),
    (-180, -90, 180, -60),
    (-180, -90, 180, 90),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("box", BOXES)
def test_a_box_holds_what_lies_in_it_whichever_way_it_winds(box, turned):
    points = ring(*box)[:: -1 if turned else 1]
    np.testing.assert_array_equal(inside(polygon(points)), in_box(*box))


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("turned", [False, True])
def test_a_box_over_the_antimeridian_is_the_same_in_either_notation(start, turned):
    for east in (-170, 190):
        corners = ring(170, -20, east, 20)[:4][:: -1 if turned else 1]
        corners = corners[start:] + corners[:start]
        shape = read_shape(polygon([*corners, corners[0]]))
        np.testing.assert_array_equal(shapely.intersects_xy(shape, LON, LAT), in_box(170, -20, 190, 20))
        west, _, east_, _ = shape.bounds
        assert (west, east_) == (-180, 180)
        assert shape.area == pytest.approx(800)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("lon", "lat"), [(0, 90), (0, -90), (30, 85), (-100, -87), (180, 0), (-179, 60), (36, -1)])
def test_a_circle_holds_what_is_near_its_middle(lon, lat, turned):
    found = inside(polygon(circle(lon, lat, 1500)[:: -1 if turned else 1]))
    distance = haversine_km(LON, LAT, lon, lat)
    sure = np.abs(distance - 1500) > 15  # edges are straight on the plane, not on the sphere
    if abs(lat) != 90 and 90 - abs(lat) < 14:  # the pole lies inside: edges near it bend
        sure = np.abs(distance - 1500) > 60
    np.testing.assert_array_equal(found[sure], (distance < 1500)[sure])
    assert found.sum() > 10


def test_holes_are_left_out():
    found = inside(polygon(ring(-40, -40, 40, 40), ring(-10, -10, 10, 10)))
    np.testing.assert_array_equal(found, in_box(-40, -40, 40, 40) & ~in_box(-10, -10, 10, 10))


@pytest.mark.parametrize("hole_east", [-175, 185])
@pytest.mark.parametrize("east", [-160, 200])
def test_a_hole_over_the_antimeridian_is_left_out_in_either_notation(east, hole_east):
    found = inside(polygon(ring(160, -40, east, 40), ring(175, -10, hole_east, 10)))
    np.testing.assert_array_equal(found, in_box(160, -40, 200, 40) & ~in_box(175, -10, 185, 10))


def test_a_ring_between_two_parallels_around_a_pole():
    found = inside(polygon(circle(0, 90, 4000), circle(0, 90, 1500)))
    distance = haversine_km(LON, LAT, 0, 90)
    np.testing.assert_array_equal(found, (distance < 4000) & (distance > 1500))


def test_many_polygons_are_their_union():
    boxes = [(0, 0, 20, 20), (10, 10, 30, 30), (170, -20, 190, 0)]
    expected = np.any([in_box(*box) for box in boxes], axis=0)
    polygons = [polygon(ring(*box)) for box in boxes]
    several = {"type": "MultiPolygon", "coordinates": [part["coordinates"] for part in polygons]}
    features = [{"type": "Feature", "properties": None, "geometry": part} for part in polygons]
    features.append({"type": "Feature", "properties": {}, "geometry": None})
    collection = {"type": "FeatureCollection", "features": features}
    mixed = {"type": "GeometryCollection", "geometries": polygons}
    for document in (several, collection, mixed, {"type": "Feature", "geometry": several}):
        np.testing.assert_array_equal(inside(document), expected)


def test_a_ring_that_crosses_itself_is_mended():
    bow_tie = [(0, 0), (20, 20), (20, 0), (0, 20), (0, 0)]
    assert read_shape(polygon(bow_tie)).area == pytest.approx(200)


def test_points_stay_points():
    shape = read_shape({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]})
    assert shapely.get_coordinates(shape).tolist() == [[1, 2], [3, 4]]


LINE = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
POINT = {"type": "Point", "coordinates": [0, 0]}


@pytest.mark.parametrize(
    "document",
    [
        LINE,
        {"type": "GeometryCollection", "geometries": [POINT, polygon(ring(0, 0, 1, 1))]},
        {"type": "GeometryCollection", "geometries": [LINE, POINT]},
        {"type": "FeatureCollection", "features": []},
        {"type": "Polygon", "coordinates": []},
        {"type": "Feature", "geometry": None},
    ],
)
def test_lines_mixtures_and_nothing_are_refused(document):
    with pytest.raises(PlaceError, match="expected only points, or only polygons"):
        read_shape(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"type": "Circle", "coordinates": [0, 0]},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Polygon", "coordinates": "here"},
        {"type": "Point", "coordinates": ["a", "b"]},
        {"type": "FeatureCollection"},
        {"type": "FeatureCollection", "features": 3},
        {"type": "FeatureCollection", "features": ["x"]},
        {"type": 7},
    ],
)
def test_what_is_no_geojson_is_refused_in_one_line(document):
    with pytest.raises(PlaceError) as caught:
        read_shape(document)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("point", [[0, 91], [361, 0], [float("nan"), 0], [500000, 4649776]])
def test_coordinates_out_of_range_are_refused(point):
    with pytest.raises(PlaceError, match="swapped"):
        read_shape({"type": "Point", "coordinates": point})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"Polygon"', "\ufeff{}", "\0", "[" * 100_000, '{"a":' * 9999])
def test_a_file_that_is_no_geojson_is_refused_with_its_name(tmp_path, text):
    (tmp_path / "area.geojson").write_text(text)
    with pytest.raises(PlaceError, match=r"area\.geojson") as caught:
        read_shape(tmp_path / "area.geojson")
    assert "\n" not in str(caught.value)


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "area.geojson").write_bytes(bytes(range(256)))
    with pytest.raises(PlaceError, match="not readable"):
        read_shape(tmp_path / "area.geojson")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "area.geojson").write_text(json.dumps(polygon(ring(0, 0, 9, 9))), encoding="utf-8-sig")
    assert read_shape(tmp_path / "area.geojson").area == pytest.approx(81)


def test_a_country_over_the_antimeridian_has_cells_on_both_sides():
    lon, _ = Place.of(polygon(ring(170, -20, -170, 20))).locations(2)
    assert (lon > 170).any()
    assert (lon < -170).any()
    assert (np.abs(lon) >= 170).all()


@pytest.mark.parametrize("notation", [(-180, 180), (0, 360)])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("pole", [-1, 1])
def test_a_ring_round_a_pole_may_have_a_vertex_on_both_sides_of_the_antimeridian(pole, turned, notation):
    lon = np.linspace(*notation, 25).tolist()
    ring_ = [(x, pole * (60 + (i % 2))) for i, x in enumerate(lon)]
    found = inside(polygon([*ring_, ring_[0]][:: -1 if turned else 1]))
    assert found[pole * LAT > 61].all()
    assert not found[pole * LAT < 60].any()


@pytest.mark.parametrize("turned", [False, True])
def test_a_band_drawn_with_many_vertices_on_one_side_is_that_band(turned):
    points = [(-180, 10), (180, 10), *((x, 30) for x in range(180, -181, -10)), (-180, 10)]
    found = inside(polygon(points[:: -1 if turned else 1]))
    np.testing.assert_array_equal(found, in_box(-180, 10, 180, 30))


@pytest.mark.parametrize(
    "document",
    [
        polygon(ring(0, 0, 10, 10), ring(0, 0, 10, 10)),
        polygon(ring(0, 0, 10, 10), ring(-5, -5, 20, 20)),
    ],
)
def test_a_polygon_that_its_hole_eats_up_is_refused(document):
    with pytest.raises(PlaceError, match="have no area"):
        read_shape(document)


@pytest.mark.parametrize("turned", [False, True])
def test_a_wide_box_is_meant_as_drawn_if_its_long_edges_have_a_vertex_on_the_way(turned):
    points = [(-170, -20), (0, -20), (170, -20), (170, 20), (0, 20), (-170, 20), (-170, -20)]
    np.testing.assert_array_equal(inside(polygon(points[:: -1 if turned else 1])), in_box(-170, -20, 170, 20))


def test_boxes_lie_inside_a_shape_outside_it_or_neither():
    shape = read_shape(polygon(ring(0, 0, 10, 10), ring(4, 4, 6, 6)))
    west, south, east, north = np.array(
        [[1, 1, 2, 2], [0, 0, 4, 10], [4.5, 4.5, 5, 5], [3, 3, 5, 5], [9, 9, 11, 11], [20, 0, 30, 9]], dtype=float
    ).T
    within, outside = compare_boxes(shape, west, south, east, north)
    assert within.tolist() == [True, True, False, False, False, False]
    assert outside.tolist() == [False, False, True, False, False, True]
    nothing = np.empty(0)
    assert [part.size for part in compare_boxes(shape, nothing, nothing, nothing, nothing)] == [0, 0]


def test_points_on_the_edge_of_a_shape_are_held():
    square = read_shape(polygon(ring(0, 0, 10, 10)))
    held = contains_points(square, np.array([0.0, 10, 5, 11]), np.array([0.0, 5, 5, 5]))
    assert held.tolist() == [True, True, True, False]
