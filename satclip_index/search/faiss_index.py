"""FAISS: the index file of an atlas, and exact search for many queries by comparing them with every row."""

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
_FLOAT32_ERROR = 2e-5  # above the error of a float32 sum of 256 products of unit vectors, 256 * 2^-24


def index_header(dim: int, count: int, n_lists: int) -> tuple[bytes, bytes]:
    """Return the header of ``index.faiss``, before and after its centroids; the sizes of its lists follow.

    The index is an inverted file whose lists are H3 ancestors, filled in row order. It needs no training, and its ids
    are rows of the Parquet files.

    Parameters
    ----------
    dim : int
        Width of a vector.
    count : int
        Number of vectors.
    n_lists : int
        Number of lists, none of them empty.

    Notes
    -----
    FAISS can write only an index that is complete in memory. This writes one of the same size whose centroids and lists
    are empty, and corrects the lengths in it (index_write.cpp: a vector is its length, uint64, and its values; lists in
    memory are ``full`` and the vector of their sizes, or ``sprs`` if most are empty).
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
    """Return an exact search for many queries on the first GPU that FAISS can use, or None."""
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


def verified_search(
    index: "Index",
    queries: NDArray[np.float32],
    k: int,
    compare: Callable[[NDArray[Any], NDArray[Any], int], Any],
    dtype: type[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the ``k`` most similar rows of each query, exactly, from FAISS's comparisons in float32.

    FAISS returns a few more than k rows, which are compared again in float64. If a row that it left out might be among
    the k best, the tree is searched.

    Parameters
    ----------
    index : Index
    queries : (m, dim) float32
        Stored vectors, which half precision represents exactly.
    k : int
    compare : function
        From queries, the vectors of a block of rows and a number to similarities and positions, both (m, number).
    dtype : type
        The type of both arguments of ``compare``.

    Returns
    -------
    rows : (m, k) int64
        -1 if there are fewer.
    similarity : (m, k) float32
        NaN there.
    """
    most = min(k + _SPARE, len(index))
    best = np.empty((queries.shape[0], 0), np.float32), np.empty((queries.shape[0], 0), np.int64)
    converted = np.ascontiguousarray(queries, dtype=dtype)
    for first in range(0, len(index), _BLOCK_ROWS):
        last = min(first + _BLOCK_ROWS, len(index))
        block = np.ascontiguousarray(index.vectors.of_rows(np.arange(first, last)), dtype=dtype)
        alike, at = compare(converted, block, min(most, last - first))
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
