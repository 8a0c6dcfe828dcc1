"""A Parquet file whose row groups are encoded side by side, where a writer of its own has one thread.

Each batch is encoded as a small Parquet file of one row group, in memory. What such a file holds does not depend on where
it lies, but for the offsets in its footer: the row groups are put one after the other, and one footer tells of them all.
"""

import io
import struct
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"PAR1"
_TAIL_BYTES = 8  # the length of the footer, and the magic

# Fields of the footer (github.com/apache/parquet-format, parquet.thrift).
_FILE_ROWS, _FILE_GROUPS = 3, 4
_GROUP_COLUMNS, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_ORDINAL = 1, 3, 5, 7
_CHUNK_OFFSET, _CHUNK_METADATA = 2, 3
_COLUMN_OFFSETS = (9, 10, 11)  # of data pages, index pages and the dictionary page

# Types of Thrift's compact protocol (github.com/apache/thrift, doc/specs/thrift-compact-protocol.md).
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 12
_WHOLE = (_I16, _I32, _I64)

Struct = dict[int, tuple[int, Any]]
"""The type and the value of each field, by its number."""


def write_parquet(
    schema: "pa.Schema", batches: "Callable[[Callable[[pa.RecordBatch], bytes]], Iterator[bytes]]", file: IO[bytes]
) -> None:
    """Write batches as a Parquet file (zstd).

    Parameters
    ----------
    schema : pyarrow.Schema
        Of every batch; its metadata are kept.
    batches : function
        Given what to do with each batch, from any thread, yields what came of it, in order.
    file : binary file
    """
    import pyarrow as pa

    empty = _encoded(pa.Table.from_batches([], schema), {})
    options = _encodings(empty)
    footer = _footer(empty)
    groups: list[Struct] = []
    file.write(_MAGIC)
    at, rows = len(_MAGIC), 0
    for encoded in batches(lambda batch: _encoded(pa.Table.from_batches([batch.cast(schema)]), options)):
        _, found = _footer(encoded)[_FILE_GROUPS][1]
        body = memoryview(encoded)[len(_MAGIC) : len(encoded) - _TAIL_BYTES - _footer_bytes(encoded)]
        for group in found:
            _move(group, at - len(_MAGIC), len(groups))
            groups.append(group)
            rows += group[_GROUP_ROWS][1]
        file.write(body)
        at += len(body)
    footer[_FILE_ROWS], footer[_FILE_GROUPS] = (_I64, rows), (_LIST, (_STRUCT, groups))
    written = io.BytesIO()
    _write_struct(written, footer)
    file.write(written.getvalue() + struct.pack("<I", written.tell()) + _MAGIC)


def _encoded(table: "pa.Table", options: dict[str, Any]) -> bytes:
    """Return a table as a Parquet file of one row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = pa.BufferOutputStream()
    # Of zstd's levels the first is the fastest that codes single bytes, which half of those of an embedding need.
    pq.write_table(
        table, out, compression="zstd", compression_level=1, row_group_size=max(1, table.num_rows), **options
    )
    return memoryview(out.getvalue())  # type: ignore[return-value]


def _encodings(empty: bytes) -> dict[str, Any]:
    """Return how to encode the columns of a file: split floats into streams of bytes, and number repeated text."""
    import pyarrow.parquet as pq

    schema = pq.ParquetFile(io.BytesIO(empty)).schema
    columns = [schema.column(i) for i in range(len(schema))]
    split = {column.path: "BYTE_STREAM_SPLIT" for column in columns if column.physical_type in ("FLOAT", "DOUBLE")}
    text = [column.path for column in columns if column.logical_type.type == "STRING"]
    return {"column_encoding": split, "use_dictionary": text or False}


def _move(group: Struct, by: int, ordinal: int) -> None:
    """Add to every offset of a row group."""
    if _GROUP_OFFSET in group:
        group[_GROUP_OFFSET] = (_I64, group[_GROUP_OFFSET][1] + by)
    group.pop(_GROUP_ORDINAL, None)  # it is optional, and of 16 bits
    for chunk in group[_GROUP_COLUMNS][1][1]:
        chunk[_CHUNK_OFFSET] = (_I64, chunk[_CHUNK_OFFSET][1] + by if chunk[_CHUNK_OFFSET][1] else 0)
        column = chunk[_CHUNK_METADATA][1]
        for name in _COLUMN_OFFSETS:
            if name in column:
                column[name] = (_I64, column[name][1] + by)


def _footer_bytes(encoded: bytes) -> int:
    length: int = struct.unpack("<I", bytes(encoded[-_TAIL_BYTES:-4]))[0]
    return length


def _footer(encoded: bytes) -> Struct:
    start = len(encoded) - _TAIL_BYTES - _footer_bytes(encoded)
    return _read_struct(io.BytesIO(bytes(encoded[start:-_TAIL_BYTES])))


def _read_struct(file: IO[bytes]) -> Struct:
    found: Struct = {}
    number = 0
    while head := file.read(1)[0]:
        number = number + (head >> 4) if head >> 4 else _zigzag(_read_number(file))
        kind = head & 15
        found[number] = (kind, _read_value(file, kind) if kind not in (_TRUE, _FALSE) else None)
    return found


def _read_value(file: IO[bytes], kind: int) -> Any:
    if kind in _WHOLE:
        return _zigzag(_read_number(file))
    if kind == _BINARY:
        return file.read(_read_number(file))
    if kind == _STRUCT:
        return _read_struct(file)
    if kind == _LIST:
        head = file.read(1)[0]
        size = head >> 4 if head >> 4 < 15 else _read_number(file)
        return head & 15, [_read_value(file, head & 15) for _ in range(size)]
    return file.read(8 if kind == _DOUBLE else 1)


def _write_struct(file: IO[bytes], fields: Struct) -> None:
    last = 0
    for number, (kind, value) in sorted(fields.items()):
        step = number - last
        file.write(bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + _number(2 * number))
        if kind not in (_TRUE, _FALSE):
            _write_value(file, kind, value)
        last = number
    file.write(b"\0")


def _write_value(file: IO[bytes], kind: int, value: Any) -> None:
    if kind in _WHOLE:
        file.write(_number(value << 1 if value >= 0 else -(value << 1) - 1))
    elif kind == _BINARY:
        file.write(_number(len(value)) + value)
    elif kind == _STRUCT:
        _write_struct(file, value)
    elif kind == _LIST:
        inner, items = value
        file.write(bytes([len(items) << 4 | inner]) if len(items) < 15 else bytes([0xF0 | inner]) + _number(len(items)))
        for item in items:
            _write_value(file, inner, item)
    else:
        file.write(value)


def _read_number(file: IO[bytes]) -> int:
    """Return a number written in groups of seven bits, the lowest first."""
    found = shift = 0
    while True:
        byte = file.read(1)[0]
        found |= (byte & 127) << shift
        if byte < 128:
            return found
        shift += 7


def _number(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
