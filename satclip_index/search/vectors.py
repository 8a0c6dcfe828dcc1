"""The stored vectors, read where they lie in ``index.faiss``."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError

_ID_BYTES = 8  # FAISS keeps an int64 id behind each list's codes


class Vectors:
    """Half-precision vectors of an index file, mapped into memory: opened at once, shared between processes.

    Parameters
    ----------
    path : Path
        An inverted-list file with an fp16 scalar quantizer, its lists filled in row order.
    codes_offset : int
        Byte at which the first list's codes start.
    start : (n_lists + 1,) int64
        First row of each list, and the number of rows.
    dim : int
        Width of a vector.

    Notes
    -----
    FAISS writes each list as its codes (2 * dim bytes a row) and then its ids (8 bytes a row), one list after the
    other, so the codes of list j begin at ``codes_offset + start[j] * (2 * dim + 8)``.
    """

    def __init__(self, path: Path, codes_offset: int, start: NDArray[np.int64], dim: int) -> None:
        try:
            self._codes = np.memmap(path, dtype=np.float16, mode="r", offset=codes_offset)
        except (OSError, ValueError, OverflowError) as error:
            raise CorruptAtlasError(f"{path} cannot be read: {error}. Build the atlas again.") from None
        self._start, self._dim = start, dim
        if self._codes.size * 2 != int(start[-1]) * (2 * dim + _ID_BYTES):
            raise CorruptAtlasError(f"{path} does not hold {int(start[-1])} vectors of {dim}. Build the atlas again.")

    def __len__(self) -> int:
        return int(self._start[-1])

    def of_lists(self, lists: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Return the rows of some lists, (n,) int64, and their vectors, (n, dim) float16."""
        starts, stops = self._start[lists], self._start[lists + 1]
        rows = np.concatenate([np.arange(a, b) for a, b in zip(starts, stops, strict=True)])
        return rows, np.concatenate([self._run(j, a, b) for j, a, b in zip(lists, starts, stops, strict=True)])

    def of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of some rows, (n, dim) float32, in the order asked for."""
        out = np.empty((rows.size, self._dim), dtype=np.float32)
        lists = np.searchsorted(self._start, rows, side="right") - 1
        for i, (row, j) in enumerate(zip(rows, lists, strict=True)):
            out[i] = self._run(j, row, row + 1)[0]
        return out

    def _run(self, j: int, start: int, stop: int) -> NDArray[np.float16]:
        """Return the vectors of rows ``start .. stop - 1``, all in list j."""
        first = start * self._dim + int(self._start[j]) * (_ID_BYTES // 2)
        return self._codes[first : first + (stop - start) * self._dim].reshape(-1, self._dim)
