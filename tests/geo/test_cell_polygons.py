import h3
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.errors import InvalidCellError
from satclip_index.geo import grid
from satclip_index.geo.cell_polygons import _shared_vertices, cell_polygons

from ..oracles import all_cells, area_km2


def polygons(cells):
    return shapely.from_wkb(np.array(cell_polygons(cells).to_pylist(), dtype=object))


def cells_at_points(lon, lat, res):
    return np.array([int(h3.latlng_to_cell(*point, res), 16) for point in zip(lat, lon, strict=True)], np.uint64)


def check(cells, shapes):
    """Check all that is promised of the polygons of some cells."""
    assert shapes.size == cells.size
    assert shapely.is_valid(shapes).all(), shapely.is_valid_reason(shapes[~shapely.is_valid(shapes)])
    pieces, of = shapely.get_parts(shapes, return_index=True)
    assert set(shapely.get_type_id(shapes)) <= {3, 6}
    np.testing.assert_array_equal(shapely.get_type_id(shapes) == 6, np.bincount(of) > 1)
    assert np.bincount(of).max() <= 2
    assert shapely.is_ccw(shapely.get_exterior_ring(pieces)).all()
    assert not shapely.get_num_interior_rings(pieces).any()
    west, south, east, north = shapely.total_bounds(shapes)
    assert (west >= -180, south >= -90, east <= 180, north <= 90) == (True,) * 4
    assert shapely.intersects_xy(shapes, *grid.cell_centers(cells)).all()


@pytest.mark.parametrize("res", [0, 1, 2, 3])
def test_every_cell_is_a_valid_polygon_round_its_centre_of_its_own_area(res):
    cells = all_cells(res)
    shapes = polygons(cells)
    check(cells, shapes)
    shared, cut = np.arange(0, cells.size, 4**res), np.flatnonzero(shapely.get_type_id(shapes) == 6)
    for row in np.union1d(shared, cut):
        assert area_km2(shapes[row]) == pytest.approx(h3.cell_area(f"{int(cells[row]):x}"), rel=0.005)


@pytest.mark.parametrize("res", [0, 1, 2])
def test_all_cells_cover_the_map_without_gap_or_overlap(res):
    pieces = shapely.get_parts(polygons(all_cells(res)))
    assert shapely.coverage_is_valid(pieces)
    assert shapely.union_all(pieces).equals(shapely.box(-180, -90, 180, 90))
    assert shapely.area(pieces).sum() == pytest.approx(360 * 180)


@given(st.integers(0, 15), st.floats(-180, 180), st.floats(-90, 90))
def test_a_cell_anywhere_has_the_corners_that_h3_gives(res, lon, lat):
    cells = cells_at_points([lon], [lat], res)
    shapes = polygons(cells)
    check(cells, shapes)
    corners = [(there, here) for here, there in h3.cell_to_boundary(f"{cells[0]:x}")]
    assert shapely.distance(shapely.points(corners), shapes[0].boundary).max() < 3e-7
    if res < 14:  # beyond, h3's own areas differ by per cents from cell to cell
        assert area_km2(shapes[0]) == pytest.approx(h3.cell_area(f"{cells[0]:x}"), rel=0.005)


@pytest.mark.parametrize("res", range(16))
def test_the_cells_over_the_poles_are_closed_along_the_edge_of_the_map(res):
    cells = cells_at_points([0, 0], [90, -90], res)
    shapes = polygons(cells)
    check(cells, shapes)
    for shape, pole in zip(shapes, (90, -90), strict=True):
        assert shape.geom_type == "Polygon"
        assert (shape.bounds[0], shape.bounds[2], shape.bounds[3 if pole > 0 else 1]) == (-180, 180, pole)
        assert shapely.covers(shape, shapely.points([(-180, pole), (0, pole), (180, pole)])).all()
        around = [int(cell, 16) for cell in h3.grid_disk(h3.latlng_to_cell(pole, 0, min(res, 14)), 1)]
        check(np.array(around, np.uint64), polygons(np.array(around, np.uint64)))


@pytest.mark.parametrize("res", [0, 1, 2, 5, 9, 15])
def test_the_twelve_pentagons_are_polygons(res):
    cells = np.array([int(cell, 16) for cell in h3.get_pentagons(res)], dtype=np.uint64)
    check(cells, polygons(cells))


def test_a_cell_across_the_antimeridian_is_cut_into_what_lies_on_either_side():
    cells = cells_at_points([180, -179.99, 179.99], [0, -16.5, 71], 4)
    for shape in polygons(cells):
        west, east = sorted(shape.geoms, key=lambda part: part.bounds[0])
        assert west.bounds[0] == -180
        assert west.bounds[2] < -170
        assert east.bounds[0] > 170
        assert east.bounds[2] == 180


def test_resolutions_may_be_mixed_and_cells_repeated_in_any_order():
    cells = np.concatenate([cells_at_points([180, 0, 0, 36.8], [0, 90, -90, -1.3], res) for res in range(16)])
    cells = np.random.default_rng(0).permutation(np.concatenate([cells, cells[:20]]))
    shapes = polygons(cells)
    check(cells, shapes)
    alone = np.concatenate([polygons(cells[i : i + 1]) for i in range(cells.size)])
    assert shapely.equals_exact(shapes, alone, tolerance=2e-7).all()


def test_of_no_cells_there_are_no_polygons():
    found = cell_polygons(np.empty(0, np.uint64))
    assert (len(found), str(found.type)) == (0, "binary")


def test_what_is_no_cell_is_refused():
    with pytest.raises(InvalidCellError, match="first is 0x7 at row 1"):
        cell_polygons(np.array([all_cells(0)[0], 7], np.uint64))


def test_a_vertex_that_neighbours_round_to_either_side_is_one():
    tie, noise = 12.34567895, np.array([-1e-13, 1e-13])
    lon, lat = (part.ravel() for part in np.meshgrid(tie + noise, -tie + noise))
    apart = np.array([12.3456785, 180.0, -180.0]), np.array([-12.345679, -90.0, -90.0])
    x, y = _shared_vertices(np.concatenate([lon, apart[0]]), np.concatenate([lat, apart[1]]))
    assert len(set(zip(x[:4].tolist(), y[:4].tolist(), strict=True))) == 1
    assert abs(int(x[0]) - tie * 1e7) <= 1
    assert abs(int(y[0]) + tie * 1e7) <= 1
    assert x[4:].tolist() == [123456785, 1_800_000_000, 1_800_000_000]
    assert y[4:].tolist() == [-123456790, -900_000_000, -900_000_000]
