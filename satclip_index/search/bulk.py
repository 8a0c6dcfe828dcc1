"""The FAISS index of an atlas."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, OutputError


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


def import_faiss() -> Any:
    """Return the faiss module, or raise MissingExtraError saying how to install it."""
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss", "cpu") from None
    return faiss
