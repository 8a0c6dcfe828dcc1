"""FAISS: the index of an atlas, and comparing many queries with every row at once."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, OutputError, require_extra
from .engine import Filter

if TYPE_CHECKING:
    from .index import Index

BulkSearch = Callable[[NDArray[np.float32]], tuple[NDArray[np.int64], NDArray[np.float32]]]

_BLOCK_ROWS = 1 << 20
_SPARE = 32  # rows fetched beyond k, so that rounding does not decide which are the best
_FLOAT32_ERROR = 2e-5  # a float32 sum of 256 products of unit vectors is off by at most 256 * 2^-24


def index_header(dim: int, count: int, n_lists: int) -> tuple[bytes, bytes]:
    """Return how ``index.faiss`` begins, before and after the centroids of its lists; the lists' sizes come next.

    It is an inverted file whose lists are H3 ancestors, filled in row order. No training is needed, and ids are rows,
    so FAISS answers in rows of the Parquet files.

    Parameters
    ----------
    dim : int
        Width of a vector.
    count : int
        How many there are.
    n_lists : int
        How many lists, none of them empty.

    Notes
    -----
    FAISS can only write an index that is whole in memory. So it writes one of the same size whose centroids and lists
    are empty, and what it says of their lengths is put right (index_write.cpp: a vector is its length, uint64, and its
    values; lists in memory are ``full`` and the vector of their sizes, or ``sprs`` where most are empty).
    """
    faiss = import_faiss()
    quantizer = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, n_lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    index.is_trained, index.ntotal, quantizer.ntotal = True, count, n_lists
    none = bytes(8)
    alone = faiss.serialize_index(quantizer).tobytes()
    before, found, after = faiss.serialize_index(index).tobytes().partition(alone)
    if not found or not alone.endswith(none) or not after.endswith(b"sprs" + none):
        raise OutputError(f"This program cannot write the index of FAISS {faiss.__version__}. Install another version.")
    lists = b"full" + n_lists.to_bytes(8, "little")
    return before + alone[:-8] + (n_lists * dim).to_bytes(8, "little"), after[: -len(b"sprs" + none)] + lists


def gpu_search(index: "Index", k: int) -> BulkSearch | None:
    """Return an exact search of many queries on the first GPU that FAISS can use; None where there is none."""
    try:
        faiss = import_faiss()
    except MissingExtraError:
        return None
    if not getattr(faiss, "get_num_gpus", int)():
        return None
    resources = faiss.StandardGpuResources()

    def compare(queries: NDArray[Any], block: NDArray[Any], most: int) -> Any:
        return faiss.knn_gpu(resources, queries, block, most, metric=faiss.METRIC_INNER_PRODUCT)

    return lambda queries: verified_search(index, queries, k, compare, np.float16)


def cpu_search(index: "Index", k: int) -> BulkSearch:
    """Return an exact search of many queries by comparing them with every row, on the CPU."""
    faiss = import_faiss()

    def compare(queries: NDArray[Any], block: NDArray[Any], most: int) -> Any:
        return faiss.knn(queries, block, most, metric=faiss.METRIC_INNER_PRODUCT)

    return lambda queries: verified_search(index, queries, k, compare, np.float32)


def verified_search(
    index: "Index",
    queries: NDArray[np.float32],
    k: int,
    compare: Callable[[NDArray[Any], NDArray[Any], int], Any],
    dtype: type[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the ``k`` most similar rows of each query, exactly, from FAISS's comparisons in float32.

    FAISS gives a few more than k. They are compared again as the tree compares them, and where those left out might
    still belong to the best, the tree is asked.

    Parameters
    ----------
    index : Index
    queries : (m, dim) float32
        Stored vectors: half precision does not change them.
    k : int
    compare : function
        Of queries, a block of rows' vectors and a number: similarities and positions, both (m, number).
    dtype : type
        What ``compare`` takes.

    Returns
    -------
    rows : (m, k) int64
        -1 where there are fewer.
    similarity : (m, k) float32
        NaN there.
    """
    most = min(k + _SPARE, len(index))
    best = np.empty((queries.shape[0], 0), np.float32), np.empty((queries.shape[0], 0), np.int64)
    asked = np.ascontiguousarray(queries, dtype=dtype)
    for first in range(0, len(index), _BLOCK_ROWS):
        last = min(first + _BLOCK_ROWS, len(index))
        block = np.ascontiguousarray(index.vectors.of_rows(np.arange(first, last)), dtype=dtype)
        alike, at = compare(asked, block, min(most, last - first))
        both = np.hstack([best[0], alike]), np.hstack([best[1], at + first])
        order = np.argsort(-both[0], axis=1, kind="stable")[:, :most]
        best = np.take_along_axis(both[0], order, 1), np.take_along_axis(both[1], order, 1)
    rows = np.full((queries.shape[0], k), -1, np.int64)
    similarity = np.full(rows.shape, np.nan, np.float32)
    for i, query in enumerate(queries):
        found = np.sort(best[1][i])
        alike = index.engine.similarity_of(query, found)
        order = np.lexsort((found, -alike))[:k]
        found, alike = found[order], alike[order]
        if most < len(index) and alike[-1] <= best[0][i, -1] + _FLOAT32_ERROR:
            exact = index.engine.top(query, k, Filter())
            found, alike = exact.rows, exact.similarity
        rows[i, : found.size], similarity[i, : found.size] = found, alike
    return rows, similarity


def import_faiss() -> Any:
    """Return the faiss module, or raise MissingExtraError saying how to install it."""
    with require_extra("faiss", "cpu"):
        import faiss
    return faiss
