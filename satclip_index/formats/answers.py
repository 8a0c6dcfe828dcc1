"""Answers of DuckDB as Arrow batches that text formats can represent: every type of SQL, and H3 cells."""

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ..database import Answer, quoted
from ..geo.grid import are_cells
from .columns import CELL, JSON, NUMBER, WKB, mark_of, marked

if TYPE_CHECKING:
    import pyarrow as pa

_AS_TEXT = ("interval", "time with time zone", "timestamp with time zone", "bit", "union", "variant", "uuid")
_AS_NUMBERS = ("hugeint", "uhugeint", "bignum")


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """An answer for text formats.

    Attributes
    ----------
    reader : pyarrow.RecordBatchReader
        The rows; what Arrow or Python cannot represent is DuckDB's own text. A column of UBIGINT or BIGINT called
        ``cell`` or ``..._cell`` is marked as H3 cells if all its values in the first batch of rows are cells.
    geometry : str, or pair of str
        The column that GeoJSON takes for the geometry: one of a geometry, or of GeoJSON geometries called
        ``geometry``; else ``lon`` and ``lat``.
    """

    reader: "pa.RecordBatchReader"
    geometry: str | tuple[str, str]

    @classmethod
    def of(cls, answer: Answer) -> "TextAnswer":
        """Return an answer as text formats need it; it is read once."""
        import pyarrow as pa

        casts = {i: cast for i, kind in enumerate(answer.types) if (cast := _cast(kind))}
        reader = answer.to_arrow_reader(casts=casts)
        names = answer.names
        fields = [annotated(field, kind) for field, kind in zip(reader.schema, answer.types, strict=True)]
        batches = iter(reader)
        empty: list[pa.RecordBatch] = []
        first = next(batches, None)
        while first is not None and not first.num_rows:
            empty, first = [first], next(batches, None)
        if first is not None:
            fields = [
                marked(field, CELL) if _holds_cells(name, column) else field
                for name, field, column in zip(names, fields, first.columns, strict=True)
            ]
        schema = pa.schema([field.with_name(name) for name, field in zip(names, fields, strict=True)])
        found = chain([first] if first is not None else empty, batches)
        renamed = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in found)
        return cls(pa.RecordBatchReader.from_batches(schema, renamed), _geometry(schema))


def _cast(kind: Any) -> str | None:
    """Return the SQL type to cast a column to, or None where Arrow represents its values."""
    if kind.id == "geometry":
        return "WKB"
    target = _target(kind)
    return target if target != str(kind) else None


def _target(kind: Any) -> str:
    if kind.id in _AS_TEXT or kind.id in _AS_NUMBERS or kind.id == "geometry":
        return "VARCHAR"
    if kind.id not in ("list", "array", "struct", "map"):
        return str(kind)
    children = dict(kind.children)
    if kind.id == "list":
        return f"{_target(children['child'])}[]"
    if kind.id == "array":
        return f"{_target(children['child'])}[{children['size']}]"
    if kind.id == "map":
        return f"MAP({_target(children['key'])}, {_target(children['value'])})"
    return f"STRUCT({', '.join(f'{quoted(name)} {_target(child)}' for name, child in children.items())})"


def annotated(field: "pa.Field", kind: Any) -> "pa.Field":
    """Return a field, and those inside it, with notes of the SQL types that Arrow does not have."""
    import pyarrow as pa

    if kind.id in _AS_NUMBERS:
        return marked(field, NUMBER)
    if kind.id == "geometry":
        return marked(field, WKB)
    if str(kind) == "JSON":
        return marked(field, JSON)
    types, children = field.type, dict(kind.children) if kind.id in ("list", "array", "struct", "map") else {}
    if kind.id == "list":
        return field.with_type(pa.list_(annotated(types.value_field, children["child"])))
    if kind.id == "array":
        return field.with_type(pa.list_(annotated(types.value_field, children["child"]), types.list_size))
    if kind.id == "map":
        item = annotated(types.item_field, children["value"])
        return field.with_type(pa.map_(types.key_field, item))
    if kind.id == "struct":
        inner = [annotated(types.field(i), child) for i, child in enumerate(children.values())]
        return field.with_type(pa.struct(inner))
    return field


def _holds_cells(name: str, column: "pa.Array") -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    eight_bytes = pa.types.is_uint64(column.type) or pa.types.is_int64(column.type)  # CSV files give BIGINT
    if not eight_bytes or not (name == "cell" or name.endswith("_cell")):
        return False
    values = np.from_dlpack(pc.drop_null(column)).view(np.uint64)
    return bool(are_cells(values).all())


def _geometry(schema: "pa.Schema") -> str | tuple[str, str]:
    import pyarrow as pa

    binary = [field.name for field in schema if mark_of(field) == WKB]
    if "geometry" in schema.names:
        field = schema.field("geometry")
        if pa.types.is_struct(field.type) and field.type.get_field_index("type") >= 0:
            return "geometry"
    return binary[0] if binary else ("lon", "lat")
