"""The search for many queries at once, against one query at a time and brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satclip_index.geo import grid, sphere
from satclip_index.search import engine as engine_module
from satclip_index.search.engine import Filter
from satclip_index.search.faiss_index import gpu_search, import_faiss, verified_search
from satclip_index.search.geo_filters import ranges_of

from .cases import CASES, brute


def groups_of(case, rows, up):
    res = int(grid.cell_res(case.cells[:1])[0])
    parents = grid.ancestors(case.cells[rows], max(0, res - up))
    return np.concatenate([[0], np.flatnonzero(parents[1:] != parents[:-1]) + 1, [rows.size]])


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 10_000),
    k=st.sampled_from([1, 2, 7, 40]),
    land_only=st.booleans(),
    away_km=st.sampled_from([0.0, 0.001, 300.0, 3000.0, 25_000.0]),
    share=st.sampled_from([None, 0.3, 0.0]),
    up=st.sampled_from([0, 1, 2, 9]),
    force_scan=st.booleans(),
)
def test_every_query_of_every_group_gets_what_brute_force_gives(
    cases, name, seed, k, land_only, away_km, share, up, force_scan
):
    case = cases(name)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, case.cells.size)
    near = np.arange(first, min(first + 12, case.cells.size))
    rows = np.unique(np.concatenate([near, rng.integers(0, case.cells.size, 5)]))
    ranges = None if share is None else ranges_of(rng.random(case.cells.size) < share)
    points = sphere.unit_vectors(case.lon, case.lat)[rows]
    with pytest.MonkeyPatch.context() as patch:
        if force_scan:
            patch.setattr(engine_module, "_SCAN_LEAST", 0)
            patch.setattr(engine_module, "_SCAN_SHARE", 0.0)
        found, alike = case.engine.nearest(
            case.embedding[rows],
            groups_of(case, rows, up),
            k,
            Filter(land_only=land_only, ranges=ranges),
            points=points,
            away_rad=away_km / sphere.EARTH_RADIUS_KM,
        )
    assert found.shape == alike.shape == (rows.size, k)
    for i, row in enumerate(rows):
        away = [(case.lon[row], case.lat[row], away_km)] if away_km else []
        expected, similarity = brute(case, case.embedding[row], land_only=land_only, away=away, ranges=ranges, k=k)
        n = expected.size
        np.testing.assert_array_equal(found[i, :n], expected)
        np.testing.assert_array_equal(alike[i, :n], similarity)
        assert (found[i, n:] == -1).all()
        assert np.isnan(alike[i, n:]).all()


def test_no_queries_give_no_rows(cases):
    case = cases("smooth, res 2")
    found, alike = case.engine.nearest(np.empty((0, 16), np.float32), np.zeros(1, np.int64), 3, Filter())
    assert found.shape == alike.shape == (0, 3)


class OneIndex:
    """What the bulk search needs of an index."""

    def __init__(self, case):
        self.engine, self.vectors, self.cells = case.engine, case.engine._vectors, case.cells

    def __len__(self):
        return self.cells.size


def compare_on_cpu(queries, block, most):
    faiss = import_faiss()
    return faiss.knn(queries, block, most, metric=faiss.METRIC_INNER_PRODUCT)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("block", [7, 1000, 1 << 20])
def test_faiss_re_ranked_is_brute_force_even_where_most_rows_are_alike(cases, name, block, monkeypatch):
    monkeypatch.setattr("satclip_index.search.faiss_index._BLOCK_ROWS", block)
    case = cases(name)
    if block == 7 and case.cells.size > 6000:
        pytest.skip("thousands of blocks of seven rows are slow, and no different")
    rows = np.random.default_rng(1).integers(0, case.cells.size, 6)
    for k in (1, 10, 2 * case.cells.size if case.cells.size < 1000 else 50):
        found, alike = verified_search(OneIndex(case), case.embedding[rows], k, compare_on_cpu, np.float32)
        for i, row in enumerate(rows):
            expected, similarity = brute(case, case.embedding[row], k=k)
            np.testing.assert_array_equal(found[i, : expected.size], expected)
            np.testing.assert_array_equal(alike[i, : expected.size], similarity)
            assert (found[i, expected.size :] == -1).all()


def test_without_a_gpu_there_is_no_search_on_one(cases):
    import faiss

    if getattr(faiss, "get_num_gpus", int)():
        pytest.skip("there is a GPU")
    assert gpu_search(OneIndex(cases("smooth, res 1")), 3) is None


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["smooth, res 3", "rough, res 3", "constant, res 2"])
def test_the_gpu_gives_what_brute_force_gives(cases, name):
    case = cases(name)
    search = gpu_search(OneIndex(case), 10)
    if search is None:
        pytest.skip("FAISS finds no GPU")
    rows = np.random.default_rng(1).integers(0, case.cells.size, 50)
    found, alike = search(case.embedding[rows])
    for i, row in enumerate(rows):
        expected, similarity = brute(case, case.embedding[row], k=10)
        np.testing.assert_array_equal(found[i], expected)
        np.testing.assert_array_equal(alike[i], similarity)
