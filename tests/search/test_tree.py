from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import satclip_index as si
from satclip_index import grid
from satclip_index.encoder import unit_half
from satclip_index.search.bulk import IndexWriter
from satclip_index.search.tree import (
    Tree,
    join_levels,
    list_res_of,
    make_level,
    read_levels,
    similarities,
    write_levels,
)
from satclip_index.search.vectors import Vectors

from ..oracles import make_encoder, similarity


def everything(rows):
    return np.ones(rows.size, bool)


def build(cells, embedding, res, folder):
    """Return the tree over some rows, by way of the files."""
    levels = [make_level(cells, embedding, r) for r in range(list_res_of(res) + 1)]
    writer = IndexWriter(embedding.shape[1], levels[-1].radius.size)
    writer.add(embedding, levels[-1].centroid, np.diff(levels[-1].start))
    offset = writer.write(folder / "index.faiss")
    slack = float(np.abs(np.linalg.norm(embedding.astype(np.float64), axis=1) - 1).max())
    write_levels(folder / "tree.safetensors", levels, slack)
    levels, slack = read_levels(folder / "tree.safetensors", list_res_of(res))
    return Tree(levels, slack, Vectors(folder / "index.faiss", offset, levels[-1].start, embedding.shape[1]))


CASES = {
    "smooth, res 0": (0, {}, None),
    "smooth, res 1": (1, {}, None),
    "smooth, res 2": (2, {}, None),
    "smooth, res 3": (3, {}, None),
    "rough, res 2": (2, {"roughness": 100 / 30, "L": 20}, None),
    "rough, res 3": (3, {"roughness": 100 / 30, "L": 20, "dim": 64}, None),
    "thinned, res 3": (3, {"L": 10}, 0.3),
    "a few rows, res 3": (3, {"L": 10}, 0.001),
    "one dimension, res 2": (2, {"dim": 1}, None),
    "constant, res 2": (2, {"roughness": 0.0}, None),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    made = {}

    def get(name):
        if name not in made:
            res, options, share = CASES[name]
            cells = grid.cells_at(res)
            if share:
                cells = cells[np.random.default_rng(0).random(cells.size) < share]
            embedding, _ = unit_half(make_encoder(7, **options).encode(*grid.cell_centers(cells)))
            made[name] = build(cells, embedding, res, tmp_path_factory.mktemp("tree")), cells, embedding
        return made[name]

    return get


def brute(embedding, query, kept):
    alike = similarity(embedding, query)
    order = np.lexsort((np.arange(alike.size), -alike))
    order = order[kept[order]]
    return order, alike[order]


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["row", "random", "mean", "opposite"]),
    share=st.sampled_from([1.0, 0.5, 0.01, 0.0]),
    scale=st.sampled_from([1.0, 1.0, 0.01, 30.0]),
)
def test_ranked_is_brute_force_row_by_row(cases, name, seed, kind, share, scale):
    tree, cells, embedding = cases(name)
    rng = np.random.default_rng(seed)
    some = embedding[rng.integers(0, cells.size, 3)]
    query = {"row": some[0], "random": rng.normal(size=some.shape[1]), "mean": some.mean(axis=0), "opposite": -some[0]}
    query = query[kind] / (np.linalg.norm(query[kind]) or 1) * scale
    query = query.astype(np.float32)
    kept = rng.random(cells.size) < share
    expected, expected_similarity = brute(embedding, query, kept)
    batches = list(tree.ranked(query, lambda rows: kept[rows]))
    rows = np.concatenate([np.empty(0, np.int64), *(batch[0] for batch in batches)])
    alike = np.concatenate([np.empty(0, np.float32), *(batch[1] for batch in batches)])
    np.testing.assert_array_equal(alike, expected_similarity)
    np.testing.assert_array_equal(rows, expected)
    assert alike.dtype == np.float32


def test_a_zero_query_finds_every_row_in_row_order(cases):
    tree, cells, _ = cases("smooth, res 2")
    batches = list(tree.ranked(np.zeros(16, np.float32), everything))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in batches]), np.arange(cells.size))


def test_reading_the_first_answers_does_not_look_at_every_row(cases):
    tree, cells, embedding = cases("smooth, res 3")
    looked = []

    def keep(rows):
        looked.append(rows.size)
        return everything(rows)

    rows, _ = next(tree.ranked(embedding[20_000], keep))
    assert rows[0] == brute(embedding, embedding[20_000], everything(cells))[0][0]
    assert sum(looked) < cells.size / 2


@pytest.mark.parametrize("name", CASES)
def test_every_row_is_inside_the_ball_of_each_ancestor(cases, name):
    _, cells, embedding = cases(name)
    unit = embedding.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for res in range(list_res_of(CASES[name][0]) + 1):
        level = make_level(cells, embedding, res)
        assert level.start[0] == 0
        assert level.start[-1] == cells.size
        np.testing.assert_allclose(np.linalg.norm(level.centroid, axis=1), 1, atol=1e-6)
        node = np.repeat(np.arange(level.radius.size), np.diff(level.start))
        parents = grid.ancestors(cells, res)
        assert (np.diff(node) == (np.diff(parents.astype(np.int64)) != 0)).all()
        centroid = level.centroid.astype(np.float64)
        centroid /= np.linalg.norm(centroid, axis=1, keepdims=True)
        # 2 arcsin(chord / 2) keeps its digits where arccos of the product does not.
        angle = 2 * np.arcsin(np.minimum(np.linalg.norm(unit - centroid[node], axis=1) / 2, 1))
        assert (angle <= level.radius[node].astype(np.float64)).all()


@pytest.mark.parametrize("name", ["smooth, res 3", "rough, res 3", "one dimension, res 2"])
def test_no_row_is_more_alike_than_the_bound_of_its_node(cases, name):
    tree, cells, embedding = cases(name)
    rng = np.random.default_rng(3)
    for _ in range(20):
        query = rng.normal(size=embedding.shape[1])
        query = (query / np.linalg.norm(query)).astype(np.float32)
        for query_ in (query, embedding[rng.integers(cells.size)]):
            alike = similarity(embedding, query_).astype(np.float64)
            for res, level in enumerate(tree._levels):
                bound, _, _ = tree._open(query_, res, np.arange(level.radius.size))
                assert (np.maximum.reduceat(alike, level.start[:-1]) <= bound).all()


def test_levels_of_shards_join_to_the_level_of_the_whole():
    cells = grid.cells_at(3)
    embedding, _ = unit_half(make_encoder(1).encode(*grid.cell_centers(cells)))
    cuts = [0, 10_000, 10_001, cells.size]
    starts = np.searchsorted(grid.ancestors(cells, 0), grid.ancestors(cells, 0)[cuts[1:3]])
    parts, edges = [], [0, *sorted(set(starts.tolist())), cells.size]
    for a, b in pairwise(edges):
        parts.append(make_level(cells[a:b], embedding[a:b], 1))
    joined, whole = join_levels(parts), make_level(cells, embedding, 1)
    np.testing.assert_array_equal(joined.start, whole.start)
    np.testing.assert_array_equal(joined.centroid, whole.centroid)
    np.testing.assert_array_equal(joined.radius, whole.radius)


def test_vectors_that_cancel_out_still_have_a_ball():
    cells = grid.descendants(grid.cells_at(0)[:1], 2)[:2]
    vectors = np.array([[1, 0, 0], [-1, 0, 0]], dtype=np.float32)
    level = make_level(cells, vectors, 0)
    np.testing.assert_allclose(np.linalg.norm(level.centroid, axis=1), 1, atol=1e-6)
    assert level.radius[0] >= np.pi - 1e-5


@given(seed=st.integers(0, 999), rows=st.integers(1, 60))
def test_a_similarity_does_not_depend_on_the_batch_it_is_in(seed, rows):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 256)).astype(np.float16)
    query = rng.normal(size=256).astype(np.float32)
    alone = np.concatenate([similarities(vectors[i : i + 1], query) for i in range(rows)])
    np.testing.assert_array_equal(similarities(vectors, query), alone)


@settings(max_examples=15)
@given(seed=st.integers(0, 999), share=st.sampled_from([1.0, 0.2]))
def test_a_land_only_atlas_is_searched_as_exactly(land_atlas, seed, share):
    index = land_atlas.index(2)
    rng = np.random.default_rng(seed)
    embedding = index.vectors.of_rows(np.arange(index.cells.size))
    query = embedding[rng.integers(index.cells.size)]
    kept = rng.random(index.cells.size) < share
    rows = np.concatenate([batch for batch, _ in index.tree.ranked(query, lambda rows: kept[rows])])
    np.testing.assert_array_equal(rows, brute(embedding, query, kept)[0])


@pytest.mark.slow
def test_a_res_4_atlas_of_256_dimensions_is_searched_exactly(tmp_path):
    encoder = make_encoder(2, L=20, capacity=64, dim=256)
    index = si.build_atlas(tmp_path / "atlas", encoder=encoder, res=4, device="cpu").index()
    embedding = index.vectors.of_rows(np.arange(index.cells.size))
    rng = np.random.default_rng(0)
    for _ in range(20):
        query = embedding[rng.integers(index.cells.size)]
        kept = rng.random(index.cells.size) < 0.3
        found, taken = [], 0
        for rows, _ in index.tree.ranked(query, lambda rows, kept=kept: kept[rows]):
            found.append(rows)
            taken += rows.size
            if taken >= 500:
                break
        np.testing.assert_array_equal(np.concatenate(found), brute(embedding, query, kept)[0][:taken])
