import h3
import numpy as np
import pytest

from satclip_index.export import _h3_lattice
from satclip_index.geo import grid, sphere

from ..oracles import all_cells

FINEST = 4


@pytest.fixture(scope="module")
def tables():
    """Hold every resolution's lattice as keys in ascending order, and the cell of each."""
    found = {}
    for res in range(FINEST + 1):
        parts = list(_h3_lattice.lattice_parts(res))
        keys = np.concatenate([key(part.face, part.a, part.b) for part in parts])
        found[res] = keys, np.concatenate([part.cell for part in parts])
    return found


def key(face, a, b):
    return (face * 20_000 + a + 10_000) * 20_000 + b + 10_000


def cell_of(tables, lon, lat, res):
    """Return the cell of each point by arithmetic and the table; 0 where the table has no such lattice point."""
    shape, p = _h3_lattice.faces(), sphere.unit_vectors(lon, lat)
    face = np.argmax(p @ shape.center.T, axis=1)
    up, scale = np.sum(p * shape.center[face], axis=1), np.sqrt(7.0) ** res
    a, b = (scale * np.sum(p * axis[res % 2, face], axis=1) / up for axis in (shape.a, shape.b))
    wanted = key(face, *_h3_lattice.nearest_point(a, b))
    keys, cells = tables[res]
    at = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where(keys[at] == wanted, cells[at], 0)


def degrees(p):
    x, y, z = (p / np.linalg.norm(p, axis=1, keepdims=True)).T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def points(kind, n, rng):
    """Return points anywhere, or where something is special."""
    shape = _h3_lattice.faces()
    corners = shape.corners[rng.integers(0, 20, n)]
    if kind == "anywhere":
        return degrees(rng.normal(size=(n, 3)))
    if kind == "poles":
        return rng.uniform(-180, 180, n), rng.choice([-1, 1], n) * (90 - rng.uniform(0, 1, n) ** 4)
    if kind == "antimeridian":
        return rng.choice([-180.0, 180.0, 179.999999, -179.999999], n), rng.uniform(-90, 90, n)
    if kind == "vertices":  # where the pentagons are
        return degrees(corners[:, 0] + 10.0 ** rng.uniform(-7, -1, (n, 1)) * rng.normal(size=(n, 3)))
    along = rng.uniform(0, 1, (n, 1))
    return degrees(
        along * corners[:, 0]
        + (1 - along) * corners[:, 1]
        + 10.0 ** rng.uniform(-8, -2, (n, 1)) * rng.normal(size=(n, 3))
    )


@pytest.mark.parametrize("res", range(FINEST + 1))
@pytest.mark.parametrize("kind", ["anywhere", "edges", "vertices", "poles", "antimeridian"])
def test_the_lattice_gives_the_cell_that_h3_gives(tables, kind, res):
    lon, lat = points(kind, 60_000, np.random.default_rng(res))
    np.testing.assert_array_equal(cell_of(tables, lon, lat, res), grid.cells_of_points(lon, lat, res))


@pytest.mark.parametrize("res", range(FINEST + 1))
def test_every_centre_lies_in_its_cell_and_every_cell_is_in_the_table(tables, res):
    cells = all_cells(res)
    np.testing.assert_array_equal(cell_of(tables, *grid.cell_centers(cells), res), cells)
    np.testing.assert_array_equal(np.unique(tables[res][1]), cells)


@pytest.mark.parametrize("res", range(FINEST + 1))
def test_a_point_on_the_very_edge_of_a_face_has_a_cell_at_or_next_to_it(tables, res):
    shape, along = _h3_lattice.faces(), np.linspace(0, 1, 401)[:, None]
    on_edges = np.concatenate([along * a + (1 - along) * b for a, b, _ in shape.corners])
    lon, lat = degrees(on_edges)
    found, expected = cell_of(tables, lon, lat, res), grid.cells_of_points(lon, lat, res)
    assert found.all()
    for ours, theirs in zip(found[found != expected], expected[found != expected], strict=True):
        assert h3.int_to_str(int(ours)) in h3.grid_disk(h3.int_to_str(int(theirs)), 1)


def test_the_faces_are_those_of_an_icosahedron_turned_the_same_way():
    shape = _h3_lattice.faces()
    assert shape.center.shape == (20, 3)
    np.testing.assert_allclose(np.sum(shape.corners * shape.center[:, None], axis=2), 0.7946544722917661, atol=1e-12)
    assert (np.linalg.det(shape.corners) > 0).all()
    pentagons = {h3.str_to_int(cell) for cell in h3.get_pentagons(0)}
    assert set(grid.cells_of_points(*degrees(shape.corners.reshape(-1, 3)), 0).tolist()) == pentagons


def test_the_parts_of_a_lattice_do_not_depend_on_how_many_fit_in_memory(tables, monkeypatch):
    monkeypatch.setattr(_h3_lattice, "_POINTS_AT_ONCE", 100)
    parts = list(_h3_lattice.lattice_parts(2))
    assert len(parts) > 20
    np.testing.assert_array_equal(np.concatenate([key(p.face, p.a, p.b) for p in parts]), tables[2][0])
    np.testing.assert_array_equal(np.concatenate([p.cell for p in parts]), tables[2][1])


@pytest.mark.parametrize("res", range(FINEST + 1))
def test_no_two_centres_are_nearer_than_the_least_spacing(res):
    cells = all_cells(res)
    a, b = grid.adjacent_pairs(cells)
    lon, lat = grid.cell_centers(cells)
    spacing = sphere.distances_km(lon[a], lat[a], lon[b], lat[b]).min() * np.sqrt(7.0) ** res
    assert _h3_lattice.LEAST_SPACING_KM < spacing < 1.5 * _h3_lattice.LEAST_SPACING_KM
