import json

import h3
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from satclip_index.geo import grid, sphere
from satclip_index.geo.geojson_shapes import read_shape
from satclip_index.query._regions import group_regions, label_regions, outline

from ..oracles import area_km2

NOTHING = np.empty(0, np.uint64)
POLES = [(0, 90), (0, -90)]
ANTIMERIDIAN = [(180, 0), (180, 71), (-179.9, -16.5), (180, -85)]
PENTAGON = h3.cell_to_latlng(h3.get_pentagons(3)[4])[::-1]
WHERE = [*POLES, *ANTIMERIDIAN, (36.8, -1.3), PENTAGON]


def to_cells(names):
    return np.sort(np.array([int(name, 16) for name in names], dtype=np.uint64))


def disk(lon, lat, res, radius):
    return to_cells(h3.grid_disk(h3.latlng_to_cell(lat, lon, res), radius))


def but(cells):
    """Return all other cells of the Earth."""
    return np.setdiff1d(grid.cells_at(int(grid.cell_res(cells[:1])[0])), cells)


def regions_by_walking(cells):
    """Return the regions as a list of lists of positions, by a walk from each cell over h3's neighbours."""
    position = {f"{int(cell):x}": i for i, cell in enumerate(cells)}
    seen, regions = set(), []
    for start in position:
        if start in seen:
            continue
        seen.add(start)
        region, front = [], [start]
        while front:
            cell = front.pop()
            region.append(position[cell])
            fresh = [other for other in h3.grid_disk(cell, 1) if other in position and other not in seen]
            seen.update(fresh)
            front += fresh
        regions.append(sorted(region))
    return regions


@st.composite
def cell_sets(draw, most):
    """Draw distinct cells in any order: scattered ones, or what a smooth field makes patches of."""
    res, seed = draw(st.integers(1, most)), draw(st.integers(0, 2**32 - 1))
    rng, cells = np.random.default_rng(seed), grid.cells_at(res)
    field = rng.random(cells.size)
    if draw(st.booleans()):
        here = sphere.unit_vectors(*grid.cell_centers(cells))
        field = sum(np.sin(here @ rng.normal(size=3) * 8 + rng.uniform(0, 6)) for _ in range(5))
    share = draw(st.sampled_from([0.02, 0.3, 0.5, 0.7, 0.98]))
    return rng.permutation(cells[field <= np.quantile(field, share)])


def check_outline(cells):
    """Check all that is promised of an outline, and return it as a shape."""
    document = json.loads(json.dumps(outline(cells)))
    shape = shapely.geometry.shape(document)
    polygons = getattr(shape, "geoms", [shape])
    assert shapely.is_valid(shape), shapely.is_valid_reason(shape)
    assert all(polygon.exterior.is_ccw for polygon in polygons)
    assert not any(ring.is_ccw for polygon in polygons for ring in polygon.interiors)
    assert shape.bounds[0] >= -180
    assert shape.bounds[2] <= 180
    assert area_km2(shape) == pytest.approx(grid.cell_areas_km2(cells).sum(), rel=0.005)

    everywhere = grid.cells_at(int(grid.cell_res(cells[:1])[0]))
    read = read_shape(document)
    shapely.prepare(read)
    covered = everywhere[shapely.intersects_xy(read, *grid.cell_centers(everywhere))]
    np.testing.assert_array_equal(covered, np.sort(cells))
    return shape


MOST = pytest.mark.parametrize("most", [2, pytest.param(3, marks=pytest.mark.slow)])


@MOST
@settings(max_examples=25)
@given(st.data())
def test_regions_are_those_of_a_walk_over_neighbours(most, data):
    cells = data.draw(cell_sets(most))
    label = label_regions(cells)
    assert label.dtype == np.int64
    expected = regions_by_walking(cells)
    assert [np.flatnonzero(label == i).tolist() for i in range(label.max() + 1)] == expected


@MOST
@settings(max_examples=25)
@given(st.data(), st.integers(1, 5))
def test_a_group_says_what_its_cells_say(most, data, levels):
    cells = data.draw(cell_sets(most))
    similarity = np.random.default_rng(0).integers(0, levels, cells.size).astype(np.float32) / 10
    regions = group_regions(cells, similarity)
    rows = [np.flatnonzero(regions.label == i) for i in range(len(regions))]
    assert sorted(row.tolist() for row in rows) == sorted(regions_by_walking(cells))
    assert regions.count.tolist() == [row.size for row in rows]
    best = [max(zip(similarity[row].tolist(), (-cells[row].astype(np.int64)).tolist(), strict=True)) for row in rows]
    assert best == sorted(best, reverse=True)
    assert regions.best_cell.tolist() == [-cell for _, cell in best]
    assert regions.best_similarity.tolist() == [alike for alike, _ in best]
    assert regions.best_similarity.dtype == np.float32
    np.testing.assert_allclose(regions.mean_similarity, [similarity[row].astype(float).mean() for row in rows])
    areas = np.array([h3.cell_area(f"{int(cell):x}") for cell in cells])
    np.testing.assert_allclose(regions.area_km2, [areas[row].sum() for row in rows])


def test_of_no_cells_there_are_no_regions():
    assert label_regions(NOTHING).tolist() == []
    assert len(group_regions(NOTHING, [])) == 0
    assert outline(NOTHING) == {"type": "MultiPolygon", "coordinates": []}
    assert shapely.geometry.shape(outline(NOTHING)).is_empty


@settings(max_examples=25)
@given(cell_sets(most=2))
def test_an_outline_covers_exactly_its_cells(cells):
    shape = check_outline(cells)
    if shape.bounds[0] > -180:  # nothing is cut
        assert len(getattr(shape, "geoms", [shape])) == label_regions(cells).max() + 1


@pytest.mark.parametrize("res", [0, 1, 2, 3])
def test_the_outline_of_the_whole_earth_is_the_whole_map(res):
    expected = [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]
    found = json.loads(json.dumps(outline(grid.cells_at(res))))
    assert found == {"type": "Polygon", "coordinates": [expected]}


@pytest.mark.parametrize(("res", "radius"), [(1, 0), (1, 3), (2, 0), (2, 1), (2, 4), (3, 0), (3, 2), (3, 4)])
@pytest.mark.parametrize("where", WHERE)
def test_a_neighbourhood_anywhere_is_outlined(where, res, radius):
    cells = disk(*where, res, radius)
    shape = check_outline(cells)
    pieces = len(getattr(shape, "geoms", [shape]))
    assert pieces == (2 if shape.bounds[0] == -180 and abs(shape.bounds[3]) < 90 and shape.bounds[1] > -90 else 1)
    assert (label_regions(cells) == 0).all()


@pytest.mark.parametrize(("res", "radius"), [(1, 0), (2, 1), pytest.param(3, 2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("where", WHERE)
def test_all_but_a_neighbourhood_anywhere_is_outlined(where, res, radius):
    check_outline(but(disk(*where, res, radius)))


@pytest.mark.parametrize("where", WHERE)
def test_a_ring_of_cells_has_a_hole(where):
    ring = np.setdiff1d(disk(*where, 3, 4), disk(*where, 3, 2))
    shape = check_outline(ring)
    assert (label_regions(ring) == 0).all()
    if shape.bounds[0] > -180:
        assert shape.geom_type == "Polygon"
        assert len(shape.interiors) == 1


@pytest.mark.parametrize("lat", [90, -90])
def test_the_cell_over_a_pole_is_closed_over_it(lat):
    for res in range(5):
        shape = shapely.geometry.shape(outline(disk(0, lat, res, 0)))
        assert shape.geom_type == "Polygon"
        assert (shape.bounds[0], shape.bounds[2]) == (-180, 180)
        assert shape.bounds[3 if lat > 0 else 1] == lat


@pytest.mark.parametrize("res", [2, 3])
def test_one_cell_has_its_own_area_wherever_it_is(res):
    cells = grid.cells_at(res)
    lon, lat = grid.cell_centers(cells)
    for cell in cells[(np.abs(lat) > 90 - 14 / res) | (np.abs(lon) > 180 - 2 / res)]:
        shape = shapely.geometry.shape(outline(cell[None]))
        assert shapely.is_valid(shape)
        assert area_km2(shape) == pytest.approx(grid.cell_areas_km2(cell[None])[0], rel=0.005)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("res", [5, 8, 11, 15])
def test_fine_cells_leave_no_sliver(where, res):
    cells = disk(*where, res, 20)
    shape = shapely.geometry.shape(outline(cells))
    assert shapely.is_valid(shape)
    polygons = getattr(shape, "geoms", [shape])
    assert len(polygons) <= 2
    assert not any(len(polygon.interiors) for polygon in polygons)


def test_regions_apart_by_one_cell_stay_apart():
    ring = np.array([int(cell, 16) for cell in h3.grid_ring(h3.latlng_to_cell(10, 10, 3), 1)], dtype=np.uint64)
    middle = disk(10, 10, 3, 0)[0]
    first = ring[0]
    opposite = next(cell for cell in ring if h3.grid_distance(f"{int(cell):x}", f"{int(first):x}") == 2)
    apart = np.array([first, opposite])
    assert label_regions(apart).tolist() == [0, 1]
    assert len(check_outline(apart).geoms) == 2
    joined = np.array([first, opposite, middle])
    assert label_regions(joined).tolist() == [0, 0, 0]
    assert check_outline(joined).geom_type == "Polygon"
