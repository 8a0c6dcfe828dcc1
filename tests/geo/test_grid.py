import h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.errors import InvalidCellError, ResolutionError
from satclip_index.geo import grid, sphere

from ..oracles import all_cells, haversine_km

LONS = st.floats(-180, 180)
LATS = st.floats(-90, 90)
POINTS = [(0, 90), (0, -90), (180, 0), (-180, 0), (180, 71), (-179.99999, -16.5), (36.82, -1.29), (77.3, 89.9999)]


def text(cells):
    return [f"{int(cell):x}" for cell in cells]


@pytest.mark.parametrize("res", range(5))
def test_cells_at_are_all_there_are_ascending(res):
    cells = grid.cells_at(res)
    assert cells.dtype == np.uint64
    assert cells.size == grid.cell_count(res) == 2 + 120 * 7**res
    assert (cells[1:] > cells[:-1]).all()
    np.testing.assert_array_equal(cells, all_cells(res))


@pytest.mark.parametrize("res", range(4))
def test_the_twelve_pentagons_are_among_them(res):
    pentagons = np.array([int(cell, 16) for cell in h3.get_pentagons(res)], dtype=np.uint64)
    assert pentagons.size == 12
    assert np.isin(pentagons, grid.cells_at(res)).all()


@pytest.mark.parametrize("res", [0, 1, 2, 3])
def test_centres_are_those_of_h3(res):
    cells = grid.cells_at(res)
    lon, lat = grid.cell_centers(cells)
    expected = np.array([h3.cell_to_latlng(cell) for cell in text(cells)])
    # Two libraries of trigonometry; near the poles, longitudes lose two of sixteen digits to the inverse functions.
    np.testing.assert_allclose(lat, expected[:, 0], atol=1e-10)
    np.testing.assert_allclose(lon, expected[:, 1], atol=1e-10)


@pytest.mark.parametrize("res", range(4))
def test_ancestors_are_those_of_h3(res):
    cells = grid.cells_at(3)[::7]
    expected = [int(h3.cell_to_parent(cell, res), 16) for cell in text(cells)]
    assert grid.ancestors(cells, res).tolist() == expected


def test_descendants_are_the_children_of_h3_ascending():
    roots = np.array([int(cell, 16) for cell in [*h3.get_pentagons(1), "811f3ffffffffff"]], dtype=np.uint64)
    expected = sorted(int(child, 16) for root in text(roots) for child in h3.cell_to_children(root, 4))
    assert grid.descendants(roots, 4).tolist() == expected


@pytest.mark.parametrize("res", [0, 1, 2, 3])
def test_boundaries_are_those_of_h3(res):
    cells = grid.cells_at(res)[:: max(1, res * res - 2)]
    lon, lat, start = grid.cell_boundaries(cells)
    assert start.dtype == np.int64
    expected = [h3.cell_to_boundary(cell) for cell in text(cells)]
    assert np.diff(start).tolist() == [len(boundary) for boundary in expected]
    np.testing.assert_allclose(np.stack([lat, lon], axis=1), np.concatenate(expected), atol=1e-10)


@pytest.mark.parametrize("res", [0, 1, 2, 3])
def test_areas_are_those_of_h3_and_sum_to_the_sphere(res):
    areas = grid.cell_areas_km2(grid.cells_at(res))
    np.testing.assert_allclose(areas, [h3.cell_area(cell) for cell in text(grid.cells_at(res))], rtol=1e-9)
    assert areas.sum() == pytest.approx(4 * np.pi * 6371.007180918475**2)


@pytest.mark.parametrize("res", [5, 7, 9])
def test_areas_of_fine_cells_are_those_of_h3(res):
    cells = grid.cells_of_points(*map(list, zip(*POINTS, strict=True)), res)
    expected = [h3.cell_area(cell) for cell in text(cells)]
    np.testing.assert_allclose(grid.cell_areas_km2(cells), expected, rtol=1e-6)  # both lose digits at the poles


def adjacent_by_h3(cells):
    """Return the unordered pairs of cells that are neighbours, as text."""
    there = set(text(cells))
    return {frozenset((cell, other)) for cell in there for other in h3.grid_ring(cell, 1) if other in there}


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("res", [0, 1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_adjacent_pairs_are_those_of_h3_each_once(res, share):
    rng = np.random.default_rng(res)
    cells = rng.permutation(grid.cells_at(res))[: int(share * grid.cell_count(res))]
    a, b = grid.adjacent_pairs(cells)
    assert (a < b).all()
    assert a.size == len(adjacent_by_h3(cells))
    assert set(map(frozenset, zip(text(cells[a]), text(cells[b]), strict=True))) == adjacent_by_h3(cells)
    if share == 1.0:
        assert a.size == (6 * cells.size - 12) // 2  # six neighbours each, but five of the twelve pentagons


def test_of_no_cells_there_are_no_boundaries_areas_and_pairs():
    nothing = np.empty(0, np.uint64)
    lon, lat, start = grid.cell_boundaries(nothing)
    assert (lon.size, lat.size, start.tolist()) == (0, 0, [0])
    assert grid.cell_areas_km2(nothing).shape == (0,)
    assert [part.shape for part in grid.adjacent_pairs(nothing)] == [(0,), (0,)]


@pytest.mark.parametrize("function", [grid.cell_boundaries, grid.cell_areas_km2, grid.adjacent_pairs])
def test_boundaries_areas_and_pairs_refuse_what_is_no_cell(function):
    with pytest.raises(InvalidCellError, match=r"1 of 2 .* at row 1"):
        function(np.array([grid.cells_at(1)[0], 7], dtype=np.uint64))


@pytest.mark.parametrize("res", [0, 1, 3, 4, 5, 6])
def test_shards_are_every_base_cell_once_in_order(res):
    roots = grid.shard_roots(res)
    np.testing.assert_array_equal(np.concatenate(roots), grid.cells_at(0))
    assert all(part.size for part in roots)


@pytest.mark.parametrize(("res", "shards"), [(7, 842), (8, 5882), (9, 41162)])
def test_shards_of_fine_resolutions_are_cells_six_up_and_of_bounded_size(res, shards):
    roots = grid.shard_roots(res)
    assert len(roots) == shards
    np.testing.assert_array_equal(np.concatenate(roots), grid.cells_at(res - 6))
    assert max(grid.descendant_count(part, res) for part in roots[:50]) == 7**6


def test_shards_join_to_the_whole_in_row_order():
    shards = grid.shard_roots(4)
    assert len(shards) > 1
    joined = np.concatenate([grid.descendants(roots, 4) for roots in shards])
    np.testing.assert_array_equal(joined, grid.cells_at(4))


@pytest.mark.parametrize("res", [0, 1, 5, 9, 15])
@pytest.mark.parametrize(("lon", "lat"), POINTS)
def test_cell_of_a_point_is_that_of_h3(lon, lat, res):
    assert text(grid.cells_of_points(lon, lat, res)) == [h3.latlng_to_cell(lat, lon, res)]


@given(lon=st.floats(180.01, 360), lat=LATS, res=st.integers(0, 15))
def test_longitudes_above_180_name_the_same_cell(lon, lat, res):
    assert text(grid.cells_of_points(lon, lat, res)) == [h3.latlng_to_cell(lat, lon - 360, res)]


@given(lon=LONS, lat=LATS, res=st.integers(0, 15))
def test_a_cells_centre_lies_in_the_cell(lon, lat, res):
    cell = grid.cells_of_points(lon, lat, res)
    assert grid.cell_res(cell).tolist() == [res]
    np.testing.assert_array_equal(grid.cells_of_points(*grid.cell_centers(cell), res), cell)
    assert grid.text_to_cell(grid.cell_to_text(cell[0])) == int(cell[0])


@given(lon=LONS, lat=LATS, to_lon=LONS, to_lat=LATS)
def test_distance_is_the_haversine(lon, lat, to_lon, to_lat):
    found = sphere.distances_km(*map(np.atleast_1d, (lon, lat, to_lon, to_lat)))
    assert found.shape == (1,)
    # Near the antipodes both lose half their digits.
    expected = haversine_km(lon, lat, to_lon, to_lat)
    assert found[0] == pytest.approx(expected, abs=1e-6 if expected < 19_000 else 0.2)


def test_distance_of_known_places():
    one = np.array([0.0]), np.array([0.0])
    quarter = np.pi / 2 * 6371.0088
    assert sphere.distances_km(*one, np.array([0.0]), np.array([90.0])) == pytest.approx(quarter)
    assert sphere.distances_km(*one, np.array([180.0]), np.array([0.0])) == pytest.approx(2 * quarter)
    across = sphere.distances_km(np.array([179.9]), np.array([0.0]), np.array([-179.9]), np.array([0.0]))
    assert across == pytest.approx(0.2 * quarter / 90)
    metre = sphere.distances_km(*one, np.array([0.0]), np.array([1e-5]))
    assert metre == pytest.approx(1e-5 * quarter / 90, rel=1e-6)


def test_distance_to_many_is_to_the_nearest():
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 40), rng.uniform(-90, 90, 40)
    to_lon, to_lat = rng.uniform(-180, 180, 700), rng.uniform(-90, 90, 700)
    expected = haversine_km(lon[:, None], lat[:, None], to_lon, to_lat).min(axis=1)
    np.testing.assert_allclose(sphere.PointSet(to_lon, to_lat).distance_km(lon, lat), expected, atol=1e-6)


@pytest.mark.parametrize("bad", [-1, 16, 3.0, "3", None, True])
def test_what_is_no_resolution_is_refused(bad):
    with pytest.raises(ResolutionError, match="0 to 15"):
        grid.cells_at(bad)


@pytest.mark.parametrize("bad", [0, 1, 0x85283473FFFFFFF | 1 << 63, 0x85283473FFFFFF0])
def test_what_is_no_cell_is_refused_with_its_row(bad):
    good = int(h3.latlng_to_cell(0, 0, 5), 16)
    with pytest.raises(InvalidCellError, match=r"1 of 2 .* at row 1"):
        grid.check_cells(np.array([good, bad], dtype=np.uint64))


@pytest.mark.parametrize("bad", [[-1], [2**64], [1.5], ["847a6e7ffffffff"], [None]])
def test_what_cannot_be_a_uint64_is_refused_as_no_cell(bad):
    with pytest.raises(InvalidCellError):
        grid.check_cells(bad)


@pytest.mark.parametrize("bad", ["", "zz", "0", "fff", "847a6e7fffffff", "ffffffffffffffff", "1" * 40])
def test_text_that_is_no_cell_is_refused(bad):
    with pytest.raises(InvalidCellError, match="15 hexadecimal digits"):
        grid.text_to_cell(bad)


@pytest.mark.parametrize("res", [2, 3])
def test_descendants_of_each_cell_are_those_of_h3(res):
    given = ["8009fffffffffff", "8001fffffffffff", "8009fffffffffff", "81083ffffffffff", "820007fffffffff"]
    expected = [(i, int(c, 16)) for i, cell in enumerate(given) for c in sorted(h3.cell_to_children(cell, res))]
    row, cell = grid.descendants_of_each(np.array([int(text, 16) for text in given], np.uint64), res)
    assert list(zip(row.tolist(), cell.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("res", "expected"),
    [
        (4, [4]),
        (np.uint8(4), [4]),
        ([4, 3, 4], [3, 4]),
        ((3, 4), [3, 4]),
        (range(3), [0, 1, 2]),
        (np.arange(3), [0, 1, 2]),
    ],
)
def test_one_resolution_or_several_become_an_ascending_list_without_repetition(res, expected):
    found = grid.check_resolutions(res)
    assert found == expected
    assert all(type(value) is int for value in found)


@pytest.mark.parametrize("bad", [-1, 16, 3.0, "3", None, True, [3, 16], [3, "4"]])
def test_a_list_of_resolutions_with_a_bad_one_is_refused_by_name(bad):
    with pytest.raises(ResolutionError, match="is not an H3 resolution; expected a whole number from 0 to 15"):
        grid.check_resolutions(bad)


def test_an_empty_list_of_resolutions_is_refused():
    with pytest.raises(ResolutionError, match="No resolution was given; expected at least one, from 0 to 9"):
        grid.check_resolutions([], highest=9)
