"""The stored vectors, read where they lie in ``index.faiss``."""

import mmap
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError

_ROWS_AT_ONCE = 4096  # bounds the memory of their half-precision copies
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

    Attributes
    ----------
    codes : (n,) uint16
        Half-precision values by their bits, ids between them.
    first : (n_lists,) int64
        Where in ``codes`` each list's first vector begins.

    Notes
    -----
    FAISS writes each list as its codes (2 * dim bytes a row) and then its ids (8 bytes a row), one list after the
    other, so the codes of list j begin at ``codes_offset + start[j] * (2 * dim + 8)``.
    """

    def __init__(self, path: Path, codes_offset: int, start: NDArray[np.int64], dim: int) -> None:
        rows = int(start[-1])
        size = path.stat().st_size if path.is_file() else 0
        if not 0 < codes_offset == size - rows * (2 * dim + _ID_BYTES):
            raise CorruptAtlasError(f"{path} does not hold {rows} vectors of {dim}. Build the atlas again.")
        mapped = np.memmap(path, dtype=np.uint16, mode="r", offset=codes_offset)
        self.codes, self._file = np.asarray(mapped), cast(mmap.mmap, mapped.base)
        self.start, self.dim = start, dim
        self.first = start[:-1] * (dim + _ID_BYTES // 2)

    def __len__(self) -> int:
        return int(self.start[-1])

    def first_code(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in ``codes`` the vector of each row begins, (n,) int64."""
        lists = np.searchsorted(self.start, rows, side="right") - 1
        return self.first[lists] + (rows - self.start[lists]) * self.dim

    def let_go(self) -> None:
        """Take the pages read so far out of this process's memory; they are read again when they are used again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)

    def ids_of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the id that FAISS gives each row: itself."""
        lists = np.searchsorted(self.start, rows, side="right") - 1
        behind = self.first[lists] + np.diff(self.start)[lists] * self.dim
        words = _ID_BYTES // 2
        first = behind + (rows - self.start[lists]) * words
        ids: NDArray[np.int64] = np.lib.stride_tricks.sliding_window_view(self.codes, words)[first].view(np.int64)
        return ids[:, 0]

    def of_rows(self, rows: NDArray[np.int64], dtype: type[np.floating] = np.float32) -> NDArray[Any]:
        """Return the vectors of some rows, (n, dim) float32 or what is asked for, in the order asked for."""
        first, out = self.first_code(rows), np.empty((rows.size, self.dim), dtype)
        windows = np.lib.stride_tricks.sliding_window_view(self.codes, self.dim)
        for start in range(0, rows.size, _ROWS_AT_ONCE):
            out[start : start + _ROWS_AT_ONCE] = windows[first[start : start + _ROWS_AT_ONCE]].view(np.float16)
        return out
