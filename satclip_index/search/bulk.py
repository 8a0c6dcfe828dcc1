"""FAISS: the index of an atlas, and comparing many queries with every row at once."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, OutputError
from .engine import Filter

if TYPE_CHECKING:
    from .index import Index

BulkSearch = Callable[[NDArray[np.float32]], tuple[NDArray[np.int64], NDArray[np.float32]]]

_BLOCK_ROWS = 1 << 20
_SPARE = 32  # rows fetched beyond k, so that rounding does not decide which are the best
_FLOAT32_ERROR = 2e-5  # a float32 sum of 256 products of unit vectors is off by at most 256 * 2^-24


class IndexWriter:
    """Writes ``index.faiss``: an inverted file whose lists are H3 ancestors, filled in row order.

    No training is needed. Rows are ids, so FAISS answers in rows of the Parquet files.

    Parameters
    ----------
    dim : int
        Width of a vector.
    n_lists : int
        How many ancestors there are.
    """

    def __init__(self, dim: int, n_lists: int) -> None:
        self._faiss = import_faiss()
        self._dim, self._rows, self._lists = dim, 0, 0
        self._quantizer = self._faiss.IndexFlatIP(dim)
        self._index = self._faiss.IndexIVFScalarQuantizer(
            self._quantizer, dim, n_lists, self._faiss.ScalarQuantizer.QT_fp16, self._faiss.METRIC_INNER_PRODUCT, False
        )
        self._index.is_trained = True

    def add(self, vectors: NDArray[np.float32], centroids: NDArray[np.float32], sizes: NDArray[np.int64]) -> None:
        """Append whole lists.

        Parameters
        ----------
        vectors : (n, dim) float32
            Already rounded to half precision.
        centroids : (m, dim) float32
            Unit centroid of each list.
        sizes : (m,) int64
            Rows of each list; they add up to n.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        ids = np.arange(self._rows, self._rows + vectors.shape[0], dtype=np.int64)
        lists = np.repeat(np.arange(self._lists, self._lists + sizes.size, dtype=np.int64), sizes)
        self._quantizer.add(np.ascontiguousarray(centroids, dtype=np.float32))
        pointer = self._faiss.swig_ptr
        self._index.add_core(vectors.shape[0], pointer(vectors), pointer(ids), pointer(lists))
        self._rows += vectors.shape[0]
        self._lists += sizes.size

    def write(self, path: Path) -> int:
        """Write the file and return the byte at which the first list's codes start."""
        partial = path.with_name(f"{path.name}.partial")
        try:
            self._faiss.write_index(self._index, str(partial))
        except RuntimeError as error:
            reason = str(error).rpartition(": ")[2]
            raise OutputError(f"{path} could not be written: {' '.join(reason.split())[:120]}.") from None
        partial.replace(path)
        return path.stat().st_size - self._rows * (2 * self._dim + 8)


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
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss", "cpu") from None
    return faiss
