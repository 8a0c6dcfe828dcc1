"""The names of the formats, and rows as dictionaries of plain Python values."""

import math
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

from ._scalar_text import cell_text, float_text
from .columns import CELL, mark_of
from .text import write_table_text

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["json", "jsonl", "csv", "geojson", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)
Geometry = Literal["point", "polygon"]
GEOMETRIES: tuple[str, ...] = get_args(Geometry)
SUFFIXES = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl"}

Row = dict[str, Any]


def write_rows(rows: Iterable[Row], file: IO[bytes], *, kind: str) -> None:
    """Write dictionaries with the same keys as text: csv, jsonl or json."""
    import pyarrow as pa

    write_table_text(pa.Table.from_pylist(list(rows)), file, kind)


def plain_rows(table: "pa.Table | pa.RecordBatchReader") -> Iterator[Row]:
    """Yield each row as values that JSON can represent: H3 cells as hexadecimal text, no NaN, dates as text."""
    batches: Iterable[pa.RecordBatch] = table.to_batches() if hasattr(table, "to_batches") else table
    for batch in batches:
        columns = [_plain_values(column, field) for column, field in zip(batch.columns, table.schema, strict=True)]
        for values in zip(*columns, strict=True):
            yield dict(zip(table.schema.names, values, strict=True))


def plain_value(value: Any) -> Any:
    """Return a value as JSON can represent it: no NaN, binary as hexadecimal text, dates and the like as text."""
    if isinstance(value, bool | str | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    return str(value)


def _plain_values(column: "pa.Array", field: "pa.Field") -> list[Any]:
    import pyarrow as pa

    if mark_of(field) == CELL and pa.types.is_integer(column.type):
        texts: list[Any] = cell_text(column).to_pylist()
        return texts
    if pa.types.is_float32(column.type):  # the shortest float64 that is this float32
        return [plain_value(value if value is None else float(value)) for value in float_text(column).to_pylist()]
    return [plain_value(value) for value in column.to_pylist()]
