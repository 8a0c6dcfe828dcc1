"""The stored vectors, mapped into memory from ``index.faiss``."""

import mmap
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError

_ROWS_AT_ONCE = 4096  # bounds the memory of their half-precision copies
_ID_BYTES = 8  # FAISS stores int64 ids after each list's codes


class Vectors:
    """Half-precision vectors of an index file, mapped into memory, which processes share.

    Parameters
    ----------
    path : Path
        A FAISS inverted file with an fp16 scalar quantizer, its lists filled in row order.
    codes_offset : int
        Byte offset of the first list's codes.
    start : (n_lists + 1,) int64
        First row of each list, and the number of rows.
    dim : int
        Width of a vector.

    Attributes
    ----------
    codes : (n,) uint16
        Bits of half-precision values, with the ids of each list after its values.
    first : (n_lists,) int64
        Position in ``codes`` of each list's first vector.

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
        """Return the position in ``codes`` of each row's vector, (n,) int64."""
        lists = np.searchsorted(self.start, rows, side="right") - 1
        return self.first[lists] + (rows - self.start[lists]) * self.dim

    def release_pages(self) -> None:
        """Release the memory of the pages read so far; the next access reads them again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)

    def ids_of_rows(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the FAISS id of each row, which is the row itself in a valid file."""
        lists = np.searchsorted(self.start, rows, side="right") - 1
        behind = self.first[lists] + np.diff(self.start)[lists] * self.dim
        words = _ID_BYTES // 2
        first = behind + (rows - self.start[lists]) * words
        ids: NDArray[np.int64] = np.lib.stride_tricks.sliding_window_view(self.codes, words)[first].view(np.int64)
        return ids[:, 0]

    def of_rows(self, rows: NDArray[np.int64], dtype: type[np.floating] = np.float32) -> NDArray[Any]:
        """Return the vectors of some rows, (n, dim) of the given type, in the given order."""
        first, out = self.first_code(rows), np.empty((rows.size, self.dim), dtype)
        windows = np.lib.stride_tricks.sliding_window_view(self.codes, self.dim)
        for start in range(0, rows.size, _ROWS_AT_ONCE):
            out[start : start + _ROWS_AT_ONCE] = windows[first[start : start + _ROWS_AT_ONCE]].view(np.float16)
        return out
