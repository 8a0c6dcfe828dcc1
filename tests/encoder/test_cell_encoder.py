from concurrent.futures import ThreadPoolExecutor

import h3.api.numpy_int as h3
import numpy as np
import pytest
import torch

from satclip_index.encoder._padua import products
from satclip_index.encoder.cell_encoder import MOST_ERROR, CellEncoder, Plan, _Squares
from satclip_index.encoder.deterministic import single_threaded
from satclip_index.encoder.location_encoder import Encoder
from satclip_index.encoder.spherical_harmonics import real_harmonics
from satclip_index.geo import grid

from ..oracles import make_encoder

POLES_AND_ANTIMERIDIAN = [(0.0, 90.0), (30.0, -90.0), (180.0, 52.0), (-179.9, -17.0), (36.8, -1.3)]


def base_cells():
    """Return base cells at the poles, across the antimeridian and of both kinds."""
    found = {h3.get_base_cell_number(h3.latlng_to_cell(lat, lon, 0)) for lon, lat in POLES_AND_ANTIMERIDIAN}
    cells = [cell for cell in h3.get_res0_cells() if h3.get_base_cell_number(cell) in found]
    return np.sort(np.array([*cells, *h3.get_pentagons(0)[:2]], dtype=np.uint64))


def some_cells(res):
    cells = np.unique(grid.descendants(np.unique(base_cells()), res))
    return cells, *grid.cell_centers(cells)


@pytest.mark.parametrize("convention", ["analytic", "closed-form"])
@pytest.mark.parametrize(("L", "capacity", "layers"), [(40, 512, 2), (14, 64, 3), (10, 32, 1), (2, 8, 2), (1, 8, 1)])
def test_cells_are_encoded_as_points_are_within_1e_5(L, capacity, layers, convention):
    encoder = make_encoder(L, L=L, capacity=capacity, layers=layers, convention=convention)
    cells, lon, lat = some_cells(4)
    found = CellEncoder(encoder).encode(cells, lon, lat)
    assert found.shape == (cells.size, 16)
    assert found.dtype == np.float32
    some = np.random.default_rng(0).choice(cells.size, 400, replace=False)
    assert np.abs(found[some] - encoder.encode(lon[some], lat[some], precision="float64")).max() < 1e-5


@pytest.mark.parametrize("res", [3, 4, 5])
def test_the_bundled_encoder_is_as_precise_by_cells_as_by_points(res):
    encoder = Encoder.load("bluemarble")
    cells = grid.descendants(base_cells()[: 1 if res == 5 else 3], res)
    lon, lat = grid.cell_centers(cells)
    some = np.random.default_rng(0).choice(cells.size, min(2000, cells.size), replace=False)
    exact = encoder.encode(lon[some], lat[some], precision="float64")
    by_cells = np.abs(CellEncoder(encoder).encode(cells, lon, lat)[some] - exact).max()
    by_points = np.abs(encoder.encode(lon[some], lat[some]) - exact).max()
    assert by_cells < max(1e-6, 2 * by_points)


@pytest.mark.parametrize("res", [2, 4, 5])
def test_side_by_side_or_one_after_the_other_the_bits_are_the_same(res):
    encoder, (cells, lon, lat) = make_encoder(3, L=24), some_cells(res)
    cells, lon, lat = cells[:30_000], lon[:30_000], lat[:30_000]
    with single_threaded(), ThreadPoolExecutor(4) as pool:
        found = CellEncoder(encoder).encode(cells, lon, lat, each=pool.map)
        np.testing.assert_array_equal(found, CellEncoder(encoder).encode(cells, lon, lat))


def test_a_few_cells_of_each_tile_are_encoded_as_points_are():
    encoder, (cells, lon, lat) = make_encoder(4, L=24), some_cells(5)
    assert Plan.of(24, 5) is not None
    some = np.sort(np.random.default_rng(1).choice(cells.size, 40, replace=False))
    found = CellEncoder(encoder).encode(cells[some], lon[some], lat[some])
    np.testing.assert_allclose(found, encoder.encode(lon[some], lat[some], precision="float64"), atol=1e-5)


@pytest.mark.parametrize("tile_res", [0, 1, 2])
def test_every_descendant_lies_in_the_square_of_its_tile(tile_res):
    tiles = grid.cells_at(tile_res)
    for res in range(tile_res, 5):
        cells = grid.cells_at(res)
        _, count = np.unique(grid.ancestors(cells, tile_res), return_counts=True)
        at = torch.from_numpy(np.stack(grid.cell_centers(cells)))
        squares = _Squares.around(tiles, torch.device("cpu"))
        assert squares.positions(at, torch.from_numpy(count)).abs().max() < 0.97


@pytest.mark.parametrize(("L", "res"), [(10, 4), (14, 5), (40, 4), (40, 5), (40, 6), (40, 8), (100, 7)])
def test_harmonics_are_interpolated_within_the_bound(L, res):
    plan = Plan.of(L, res)
    tiles = np.unique(grid.ancestors(base_cells(), plan.tile_res)) if plan.tile_res == 0 else grid.cells_at(1)[::97]
    if plan.tile_res > 1:
        tiles = grid.ancestors(grid.descendants(tiles, plan.tile_res)[::60], plan.tile_res)
    squares = _Squares.around(tiles, torch.device("cpu"))
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.uniform(-1, 1, (2, 50)))
    weights = torch.from_numpy(rng.normal(size=(L * L, 5)))

    def at(x, y):
        return (real_harmonics(*squares.points(x, y), L).T @ weights).reshape(len(tiles), -1, 5)

    values = at(plan.padua.x, plan.padua.y)
    found = products(x, y, plan.padua.degree).T @ (plan.padua.fit @ values)
    largest = real_harmonics(*torch.from_numpy(np.stack(grid.cell_centers(grid.cells_at(2)))), L).T @ weights
    assert ((found - at(x, y)).abs().amax(dim=(0, 1)) <= MOST_ERROR * largest.abs().amax(dim=0)).all()


def test_points_and_positions_of_a_square_are_each_others_inverse():
    tiles = np.unique(base_cells())
    squares = _Squares.around(tiles, torch.device("cpu"))
    x, y = torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, (2, 30)))
    at = squares.points(x, y)
    found = squares.positions(at, torch.full((tiles.size,), 30))
    np.testing.assert_allclose(found.numpy(), np.tile(torch.stack([x, y]).numpy(), (1, tiles.size)), atol=1e-12)


def test_where_there_are_few_cells_a_tile_they_are_encoded_one_by_one():
    assert Plan.of(40, 3) is None
    assert Plan.of(40, 0) is None
