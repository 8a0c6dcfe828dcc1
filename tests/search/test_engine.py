import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import satclip_index as si
from satclip_index.geo import sphere
from satclip_index.search import engine as engine_module
from satclip_index.search.engine import Filter
from satclip_index.search.geo_filters import disks, ranges_of

from ..oracles import make_encoder, similarity
from .cases import CASES, brute


def a_query(case, seed, kind, scale=1.0):
    rng = np.random.default_rng(seed)
    some = case.embedding[rng.integers(0, case.cells.size, 3)]
    made = {"row": some[0], "random": rng.normal(size=some.shape[1]), "mean": some.mean(axis=0), "opposite": -some[0]}
    query = made[kind] / (np.linalg.norm(made[kind]) or 1) * scale
    return query.astype(np.float32)


KINDS = st.sampled_from(["row", "random", "mean", "opposite"])


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 10_000),
    kind=KINDS,
    scale=st.sampled_from([1.0, 0.01, 30.0]),
    k=st.sampled_from([1, 7, 40, 500, 20_000]),
)
def test_the_top_rows_are_those_of_brute_force_for_a_query_of_any_length(cases, name, seed, kind, scale, k):
    case = cases(name)
    query = a_query(case, seed, kind, scale)
    found = case.engine.top(query, k, Filter())
    expected, expected_similarity = brute(case, query, k=k)
    assert found.rows.size == min(k, case.cells.size)
    np.testing.assert_array_equal(found.similarity, expected_similarity)
    np.testing.assert_array_equal(found.rows, expected)
    assert found.similarity.dtype == np.float32


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    kind=KINDS,
    k=st.integers(1, 60),
    land_only=st.booleans(),
    away_km=st.lists(st.sampled_from([10.0, 500.0, 3000.0, 12_000.0]), max_size=3),
    apart_km=st.sampled_from([0.0, 0.001, 300.0, 2000.0, 15_000.0]),
    share=st.sampled_from([None, 1.0, 0.3, 0.01, 0.0]),
    least=st.sampled_from([None, None, 0.0, 0.5, 0.9, 0.999, 2.0]),
    force_scan=st.booleans(),
)
def test_every_combination_of_filters_is_brute_force(
    cases, name, seed, kind, k, land_only, away_km, apart_km, share, least, force_scan
):
    case = cases(name)
    rng = np.random.default_rng(seed)
    query = a_query(case, seed, kind)
    places = [(rng.uniform(-180, 180), rng.choice([rng.uniform(-90, 90), 90.0, -90.0]), km) for km in away_km]
    ranges = (
        None
        if share is None
        else ranges_of(np.repeat(rng.random(case.cells.size // 5 + 1) < share, 5)[: case.cells.size])
    )
    where = Filter(
        land_only=land_only,
        away=np.concatenate([np.empty((0, 4)), *(disks(np.array([a]), np.array([b]), km) for a, b, km in places)]),
        ranges=ranges,
        apart_rad=apart_km / sphere.EARTH_RADIUS_KM,
        least=(least := -np.inf if least is None else np.quantile(similarity(case.embedding, query), min(least, 1.0))),
    )
    with pytest.MonkeyPatch.context() as patch:
        if force_scan:
            patch.setattr(engine_module, "_SCAN_LEAST", 0)
            patch.setattr(engine_module, "_SCAN_SHARE", 0.0)
        found = case.engine.top(query, k, where)
    expected, alike = brute(
        case, query, land_only=land_only, away=places, ranges=ranges, apart_km=apart_km, k=k, least=least
    )
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.similarity, alike)


def test_a_search_that_cannot_prune_becomes_a_scan(cases, monkeypatch):
    case = cases("rough, res 3")
    query = a_query(case, 1, "random")
    monkeypatch.setattr(engine_module, "_SCAN_LEAST", 0)
    monkeypatch.setattr(engine_module, "_SCAN_SHARE", 0.05)
    found = case.engine.top(query, 1500, Filter(apart_rad=0.01))
    assert found.scanned, "a rough encoder with a threshold of 5 % must end in a scan"
    expected, alike = brute(case, query, apart_km=0.01 * sphere.EARTH_RADIUS_KM, k=1500)
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_array_equal(found.similarity, alike)


def test_the_scan_is_every_similarity(cases):
    for name in ("smooth, res 0", "rough, res 3", "thinned, res 3"):
        case = cases(name)
        query = a_query(case, 5, "random")
        np.testing.assert_array_equal(case.engine.scan(query), similarity(case.embedding, query))


def test_a_zero_query_finds_every_row_in_row_order(cases):
    case = cases("smooth, res 2")
    found = case.engine.top(np.zeros(16, np.float32), case.cells.size, Filter())
    np.testing.assert_array_equal(found.rows, np.arange(case.cells.size))


def test_reading_the_first_answers_does_not_compare_every_row(cases):
    case = cases("smooth, res 3")
    found = case.engine.top(case.embedding[20_000], 10, Filter())
    assert not found.scanned
    assert found.compared < case.cells.size / 20


def test_asking_for_more_than_there_is_gives_what_there_is(cases):
    case = cases("a few rows, res 3")
    found = case.engine.top(case.embedding[0], 10_000, Filter())
    assert np.sort(found.rows).tolist() == list(range(case.cells.size))
    assert case.engine.top(case.embedding[0], 5, Filter(ranges=np.empty((0, 2), np.int64))).rows.size == 0


@settings(max_examples=15)
@given(seed=st.integers(0, 999))
def test_a_land_only_atlas_is_searched_as_exactly(land_atlas, seed):
    index = land_atlas.index(2)
    rng = np.random.default_rng(seed)
    embedding = index.vectors.of_rows(np.arange(len(index)))
    query = embedding[rng.integers(len(index))]
    alike = similarity(embedding, query)
    found = index.engine.top(query, len(index), Filter(land_only=True))
    np.testing.assert_array_equal(found.rows, np.lexsort((np.arange(alike.size), -alike)))


@pytest.mark.slow
def test_a_res_4_atlas_of_256_dimensions_is_searched_exactly(tmp_path):
    encoder = make_encoder(2, L=20, capacity=64, dim=256)
    index = si.build_atlas(tmp_path / "atlas", encoder=encoder, res=4, device="cpu").index()
    embedding = index.vectors.of_rows(np.arange(len(index)))
    rng = np.random.default_rng(0)
    for _ in range(20):
        query = embedding[rng.integers(len(index))]
        found = index.engine.top(query, 500, Filter())
        alike = similarity(embedding, query)
        np.testing.assert_array_equal(found.rows, np.lexsort((np.arange(alike.size), -alike))[:500])
