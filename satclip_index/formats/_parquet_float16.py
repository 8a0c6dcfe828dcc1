"""A Parquet column of lists of half-precision numbers, as float32, at the cost of copying them.

Parquet may number the distinct values of a column and write the numbers. A half-precision value has 16 bits: take all
65,536 of them for the dictionary, and the number of a value is its own bits. So a page is what it would be in memory,
half as long as its float32 values, and every reader of Parquet finds float32.
"""

import struct
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ._parquet_thrift import I32, I64, LIST, STRUCT, Struct, number_bytes, struct_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_PAGE_ROWS = 4096
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_PLAIN, _RLE, _RLE_DICTIONARY = 0, 3, 8
_UNCOMPRESSED = 0
_PRESENT = 3  # definition level: of the list, of its items, and of a value
# Fields of ColumnMetaData (github.com/apache/parquet-format, parquet.thrift).
_ENCODINGS, _CODEC, _VALUES, _PLAIN_BYTES, _BYTES, _DATA_OFFSET, _DICTIONARY_OFFSET = 2, 4, 5, 6, 7, 9, 11
_OF_THE_OLD_PAGES = (10, 12, 13, 14, 15, 16)  # index, statistics and filters


def half_chunk(column: "pa.ListArray", dim: int, described: Struct) -> tuple[list[bytes], Struct]:
    """Return a column of lists as the pages of a Parquet column chunk.

    Parameters
    ----------
    column : list array of half precision
        Lists of ``dim`` values, or NULL.
    dim : int
    described : Struct
        The ColumnMetaData of such a column, for its type and path.

    Returns
    -------
    pages : list of bytes
    described : Struct
        The ColumnMetaData, with offsets from the first of the pages.
    """
    kept = np.ones(len(column), bool) if not column.null_count else ~_bits(column.is_null())
    codes = np.from_dlpack(column.flatten()).view(np.uint16).reshape(-1, dim)
    dictionary = _dictionary()
    pages, values, before = [*dictionary], 0, 0
    for start in range(0, kept.size, _PAGE_ROWS):
        held = kept[start : start + _PAGE_ROWS]
        after = before + int(held.sum())
        page, count = _page(held, codes[before:after], dim)
        pages += page
        values, before = values + count, after
    size = sum(map(len, pages))
    changed: Struct = {
        _ENCODINGS: (LIST, (I32, [_PLAIN, _RLE, _RLE_DICTIONARY])),
        _CODEC: (I32, _UNCOMPRESSED),
        _VALUES: (I64, values),
        _PLAIN_BYTES: (I64, size),
        _BYTES: (I64, size),
        _DATA_OFFSET: (I64, sum(map(len, dictionary))),
        _DICTIONARY_OFFSET: (I64, 0),
    }
    return pages, {name: value for name, value in described.items() if name not in _OF_THE_OLD_PAGES} | changed


def _dictionary() -> list[bytes]:
    """Return a page of all values of half precision, in the order of their bits; those not finite count as 0."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = np.where(np.isfinite(halves), halves, np.float16(0)).astype("<f4").tobytes()
    about: Struct = {1: (I32, 1 << 16), 2: (I32, _PLAIN)}
    return [_header(_DICTIONARY_PAGE, len(values), 7, about), values]


def _page(kept: NDArray[np.bool_], codes: NDArray[np.uint16], dim: int) -> tuple[list[bytes], int]:
    """Return a page of rows, of which those kept have codes, and how many values it counts."""
    row = b"\2\0" + (_run(dim - 1, 1) if dim > 1 else b"")  # a list begins, and goes on
    repetition, definition = [], []
    for run in np.split(kept, np.flatnonzero(np.diff(kept)) + 1):
        repetition.append(row * run.size if run[0] else _run(run.size, 0))
        definition.append(_run(run.size * dim, _PRESENT) if run[0] else _run(run.size, 0))
    levels = b"".join(struct.pack("<I", len(part)) + part for part in map(b"".join, (repetition, definition)))
    groups = -(-codes.size // 8)
    opening = levels + bytes([16]) + number_bytes(groups << 1 | 1)
    padding = bytes(2 * (8 * groups - codes.size))
    data = codes.astype("<u2", copy=False).tobytes()
    count = codes.size + int((~kept).sum())
    about: Struct = {1: (I32, count), 2: (I32, _RLE_DICTIONARY), 3: (I32, _RLE), 4: (I32, _RLE)}
    header = _header(_DATA_PAGE, len(opening) + len(data) + len(padding), 5, about)
    return [header, opening, data, padding], count


def _header(kind: int, size: int, field: int, about: Struct) -> bytes:
    return struct_bytes({1: (I32, kind), 2: (I32, size), 3: (I32, size), field: (STRUCT, about)})


def _run(length: int, value: int) -> bytes:
    """Return a level repeated, of at most eight bits."""
    return number_bytes(length << 1) + bytes([value])


def _bits(column: "pa.BooleanArray") -> NDArray[np.bool_]:
    return np.fromiter(column.to_pylist(), bool, len(column))
