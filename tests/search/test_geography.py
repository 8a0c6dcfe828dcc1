import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.search.geography import keep_away, pick_apart

from ..oracles import haversine_km

LON = np.concatenate([np.random.default_rng(0).uniform(-180, 180, 300), [180, -180, 0, 0, 90]])
LAT = np.concatenate([np.random.default_rng(1).uniform(-90, 90, 300), [10, 10, 90, -90, 90]])


def naive(rows, k, apart):
    picked = []
    for row in rows:
        if len(picked) == k:
            break
        if apart <= 0 or all(haversine_km(LON[row], LAT[row], LON[p], LAT[p]) >= apart for p in picked):
            picked.append(row)
    return picked


@given(
    seed=st.integers(0, 9999),
    k=st.integers(1, 40),
    apart=st.sampled_from([0.0, 1e-9, 1.0, 300.0, 2000.0, 8000.0, 30_000.0]),
    cuts=st.lists(st.integers(0, 305), max_size=6),
)
def test_picking_is_the_naive_greedy_whatever_the_batches(seed, k, apart, cuts):
    rows = np.random.default_rng(seed).permutation(LON.size)
    alike = np.linspace(1, -1, rows.size, dtype=np.float32)
    batches = list(zip(np.split(rows, sorted(cuts)), np.split(alike, sorted(cuts)), strict=True))
    found, similarity = pick_apart(iter(batches), LON, LAT, k=k, apart_km=apart)
    assert found.tolist() == naive(rows, k, apart)
    position = np.argsort(rows)
    np.testing.assert_array_equal(similarity, alike[position[found]])


def test_no_more_is_read_than_needed():
    def batches():
        yield np.array([0, 1, 2]), np.float32([0.9, 0.8, 0.7])
        raise AssertionError("read too far")

    rows, _ = pick_apart(batches(), LON, LAT, k=3, apart_km=0)
    assert rows.tolist() == [0, 1, 2]


def test_no_candidates_give_no_rows():
    rows, similarity = pick_apart(iter([]), LON, LAT, k=3, apart_km=300)
    assert rows.size == similarity.size == 0
    assert rows.dtype == np.int64
    assert similarity.dtype == np.float32


@pytest.mark.parametrize("within", [0, 0.5, 500, 5000])
def test_keep_away_is_the_haversine_to_every_example(within):
    to_lon, to_lat = np.array([180.0, 0.0, 36.8]), np.array([10.0, 90.0, -1.3])
    distance = haversine_km(LON[:, None], LAT[:, None], to_lon, to_lat).min(axis=1)
    found = keep_away(LON, LAT, to_lon, to_lat, within)
    np.testing.assert_array_equal(found, distance >= within if within else np.ones(LON.size, bool))
