import sys

import faiss
import numpy as np
import pytest

from satclip_index.errors import MissingExtraError
from satclip_index.geo import grid
from satclip_index.search.engine import Filter
from satclip_index.search.faiss_index import import_faiss

from ..oracles import similarity, stored


@pytest.fixture(params=[1, 2])
def opened(request, atlas):
    """Return the index as plain FAISS reads it, and the embeddings as DuckDB does."""
    path = str(atlas.path / f"res={request.param}" / "index.faiss")
    return faiss.read_index(path), stored(atlas, request.param), request.param


def test_faiss_reads_the_index_and_its_ids_are_rows(opened):
    index, columns, res = opened
    assert index.ntotal == columns["cell"].size
    assert index.d == 16
    assert index.metric_type == faiss.METRIC_INNER_PRODUCT
    assert index.is_trained
    lists = [
        faiss.rev_swig_ptr(index.invlists.get_ids(j), index.invlists.list_size(j)).copy() for j in range(index.nlist)
    ]
    np.testing.assert_array_equal(np.concatenate(lists), np.arange(index.ntotal))
    ancestors = grid.ancestors(columns["cell"], max(0, res - 2))
    for rows in lists:
        assert np.unique(ancestors[rows]).size == 1


def test_the_vectors_in_faiss_are_exactly_the_stored_ones(opened):
    index, columns, _ = opened
    index.make_direct_map()
    np.testing.assert_array_equal(index.reconstruct_n(0, index.ntotal), columns["embedding"])


def test_searching_every_list_is_brute_force(opened):
    index, columns, _ = opened
    index.nprobe = index.nlist
    queries = columns["embedding"][:: index.ntotal // 20]
    found, ids = index.search(queries, 10)
    for query, alike, rows in zip(queries, found, ids, strict=True):
        expected = similarity(columns["embedding"], query)
        np.testing.assert_allclose(alike, np.sort(expected)[::-1][:10], atol=1e-6)
        np.testing.assert_allclose(expected[rows], alike, atol=1e-6)


def test_faiss_and_the_tree_agree_on_sign_and_scale(opened, atlas):
    index, columns, res = opened
    index.nprobe = index.nlist
    query = columns["embedding"][17]
    alike, rows = index.search(query[None], 5)
    found = atlas.index(res).engine.top(query, 5, Filter())
    assert rows[0, 0] == found.rows[0] == 17
    np.testing.assert_allclose(alike[0, : found.similarity.size], found.similarity[:5], atol=1e-6)


def test_the_index_maps_into_memory(atlas):
    path = str(atlas.path / "res=2" / "index.faiss")
    mapped = faiss.read_index(path, faiss.IO_FLAG_MMAP)
    assert mapped.ntotal == 5882


def test_without_faiss_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'satclip-index\[cpu\]'"):
        import_faiss()
