"""A Parquet file whose row groups are encoded side by side, where a writer of its own has one thread.

Each batch is encoded as a small Parquet file of one row group, in memory. What such a file holds does not depend on
where it lies, but for the offsets in its footer: the row groups are put one after the other, and one footer tells of
them all.
"""

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from ._parquet_float16 import half_chunk
from ._parquet_thrift import I64, LIST, STRUCT, Struct, read_struct, struct_bytes

if TYPE_CHECKING:
    import pyarrow as pa

Group = tuple[list[bytes], Struct]
"""The bytes of a row group, and what the footer says of it: with offsets from the first of these bytes."""

_MAGIC = b"PAR1"
_TAIL_BYTES = 8  # the length of the footer, and the magic

# Fields of the footer (github.com/apache/parquet-format, parquet.thrift).
_FILE_ROWS, _FILE_GROUPS = 3, 4
_GROUP_COLUMNS, _GROUP_PLAIN_BYTES, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_BYTES, _GROUP_ORDINAL = 1, 2, 3, 5, 6, 7
_CHUNK_OFFSET, _CHUNK_METADATA = 2, 3
_PATH, _PLAIN_BYTES, _BYTES = 3, 6, 7
_COLUMN_OFFSETS = (9, 10, 11)  # of data pages, index pages and the dictionary page


def write_parquet(
    schema: "pa.Schema",
    batches: "Callable[[Callable[[pa.RecordBatch], Group]], Iterator[Group]]",
    file: IO[bytes],
    halves: Mapping[str, int],
) -> None:
    """Write batches as a Parquet file.

    Parameters
    ----------
    schema : pyarrow.Schema
        What is written; its metadata are kept.
    batches : function
        Given what to do with each batch, from any thread, yields what came of it, in order.
    file : binary file
    halves : mapping of str to int
        Columns that batches have as lists, NULL or of so many values of half precision, and the schema of float32.
    """
    import pyarrow as pa

    empty = _encoded(pa.Table.from_batches([], schema), {})
    options, footer = _encodings(empty), _footer(empty)
    groups: list[Struct] = []
    file.write(_MAGIC)
    at, rows = len(_MAGIC), 0
    for parts, group in batches(lambda batch: _group(batch, schema, options, halves)):
        if group[_GROUP_ROWS][1]:
            _move(group, at)
            groups.append(group)
            rows += group[_GROUP_ROWS][1]
            for part in parts:
                file.write(part)
                at += len(part)
    footer[_FILE_ROWS], footer[_FILE_GROUPS] = (I64, rows), (LIST, (STRUCT, groups))
    written = struct_bytes(footer)
    file.write(written + struct.pack("<I", len(written)) + _MAGIC)


def _group(batch: "pa.RecordBatch", schema: "pa.Schema", options: dict[str, Any], halves: Mapping[str, int]) -> Group:
    import pyarrow as pa

    table = pa.Table.from_batches([batch])
    for name in halves:  # a column of nothing gives a column's description, to be changed
        at, nothing = schema.get_field_index(name), pa.nulls(batch.num_rows, schema.field(name).type)
        table = table.set_column(at, schema.field(name), nothing)
    encoded = _encoded(table.cast(schema), options)
    _, found = _footer(encoded)[_FILE_GROUPS][1]
    group: Struct = found[0] if found else {_GROUP_ROWS: (I64, 0)}
    body = [encoded[len(_MAGIC) : len(encoded) - _TAIL_BYTES - _footer_bytes(encoded)]]
    if found:
        _move(group, -len(_MAGIC))
        for chunk in group[_GROUP_COLUMNS][1][1]:
            described = chunk[_CHUNK_METADATA][1]
            name = described[_PATH][1][1][0].decode()
            if name in halves:
                pages, changed = half_chunk(batch.column(name), halves[name], described)
                for key, part in ((_GROUP_PLAIN_BYTES, _PLAIN_BYTES), (_GROUP_BYTES, _BYTES)):
                    group[key] = (I64, group[key][1] + changed[part][1] - described[part][1])
                chunk[_CHUNK_METADATA] = (STRUCT, changed)
                _move_column(changed, sum(map(len, body)))
                body += pages
    return body, group


def _encoded(table: "pa.Table", options: dict[str, Any]) -> bytes:
    """Return a table as a Parquet file of one row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = pa.BufferOutputStream()
    rows = max(1, table.num_rows)
    pq.write_table(table, out, compression="zstd", compression_level=1, row_group_size=rows, **options)
    encoded: bytes = out.getvalue().to_pybytes()
    return encoded


def _encodings(empty: bytes) -> dict[str, Any]:
    """Return how to encode the columns of a file: split floats into streams of bytes, and number repeated text."""
    import pyarrow.parquet as pq

    schema = pq.ParquetFile(io.BytesIO(empty)).schema
    columns = [schema.column(i) for i in range(len(schema))]
    split = {column.path: "BYTE_STREAM_SPLIT" for column in columns if column.physical_type in ("FLOAT", "DOUBLE")}
    text = [column.path for column in columns if column.logical_type.type == "STRING"]
    return {"column_encoding": split, "use_dictionary": text or False}


def _move(group: Struct, by: int) -> None:
    """Add to every offset of a row group."""
    if _GROUP_OFFSET in group:
        group[_GROUP_OFFSET] = (I64, group[_GROUP_OFFSET][1] + by)
    group.pop(_GROUP_ORDINAL, None)  # it is optional, and of 16 bits
    for chunk in group[_GROUP_COLUMNS][1][1]:
        if chunk[_CHUNK_OFFSET][1]:
            chunk[_CHUNK_OFFSET] = (I64, chunk[_CHUNK_OFFSET][1] + by)
        _move_column(chunk[_CHUNK_METADATA][1], by)


def _move_column(described: Struct, by: int) -> None:
    for name in _COLUMN_OFFSETS:
        if name in described:
            described[name] = (I64, described[name][1] + by)


def _footer_bytes(encoded: bytes) -> int:
    length: int = struct.unpack("<I", encoded[-_TAIL_BYTES:-4])[0]
    return length


def _footer(encoded: bytes) -> Struct:
    return read_struct(encoded[len(encoded) - _TAIL_BYTES - _footer_bytes(encoded) : -_TAIL_BYTES])
