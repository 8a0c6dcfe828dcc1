"""Thrift's compact protocol, in which Parquet writes what it knows of its pages.

The types and their bytes: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

import io
from typing import IO, Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 12
_WHOLE = (I16, I32, I64)

Struct = dict[int, tuple[int, Any]]
"""The type and the value of each field, by its number; a list is the type of its items and the items."""


def read_struct(data: bytes) -> Struct:
    """Return the struct that some bytes begin with."""
    return _read_struct(io.BytesIO(data))


def struct_bytes(fields: Struct) -> bytes:
    """Return a struct as bytes."""
    file = io.BytesIO()
    _write_struct(file, fields)
    return file.getvalue()


def number_bytes(value: int) -> bytes:
    """Return a number of at least 0 in groups of seven bits, the lowest first."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _read_struct(file: IO[bytes]) -> Struct:
    found: Struct = {}
    number = 0
    while head := file.read(1)[0]:
        number = number + (head >> 4) if head >> 4 else _zigzag(_read_number(file))
        kind = head & 15
        found[number] = (kind, _read_value(file, kind) if kind not in (TRUE, FALSE) else None)
    return found


def _read_value(file: IO[bytes], kind: int) -> Any:
    if kind in _WHOLE:
        return _zigzag(_read_number(file))
    if kind == BINARY:
        return file.read(_read_number(file))
    if kind == STRUCT:
        return _read_struct(file)
    if kind == LIST:
        head = file.read(1)[0]
        size = head >> 4 if head >> 4 < 15 else _read_number(file)
        return head & 15, [_read_value(file, head & 15) for _ in range(size)]
    return file.read(8 if kind == DOUBLE else 1)


def _write_struct(file: IO[bytes], fields: Struct) -> None:
    last = 0
    for number, (kind, value) in sorted(fields.items()):
        step = number - last
        file.write(bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + number_bytes(2 * number))
        if kind not in (TRUE, FALSE):
            _write_value(file, kind, value)
        last = number
    file.write(b"\0")


def _write_value(file: IO[bytes], kind: int, value: Any) -> None:
    if kind in _WHOLE:
        file.write(number_bytes(value << 1 if value >= 0 else -(value << 1) - 1))
    elif kind == BINARY:
        file.write(number_bytes(len(value)) + value)
    elif kind == STRUCT:
        _write_struct(file, value)
    elif kind == LIST:
        inner, items = value
        file.write(
            bytes([len(items) << 4 | inner]) if len(items) < 15 else bytes([0xF0 | inner]) + number_bytes(len(items))
        )
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


def _zigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
