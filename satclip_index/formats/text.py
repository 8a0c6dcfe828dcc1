"""Arrow batches written as CSV, JSON lines, JSON or GeoJSON: the one writer of every command."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import OutputError
from ._wkb_text import geojson_of_wkb
from .arrow import concatenated, string, strings
from .columns import csv_column, json_column, json_string, quoted_csv

if TYPE_CHECKING:
    import pyarrow as pa

Batches = Callable[[Callable[["pa.RecordBatch"], Any]], Iterator[Any]]
"""Given a function of a batch, yields its results in order; it may call the function in several threads."""

_ROWS = 8192  # of text at a time
_BYTES = 1 << 26
_LON_LAT = ("lon", "lat")


def write_text(
    schema: "pa.Schema",
    batches: Batches,
    file: IO[bytes],
    kind: str,
    *,
    query: dict[str, Any] | None = None,
    geometry: str | tuple[str, str] | None = _LON_LAT,
) -> None:
    r"""Write batches as UTF-8 text.

    CSV follows RFC 4180 with ``\n`` line ends. NULL is empty; an empty string is ``""``, as is the NULL of a table of
    one column, whose line readers would skip otherwise.

    Parameters
    ----------
    schema : pyarrow.Schema
        The columns; metadata of its fields mark H3 cells and the like, see :func:`marked`.
    batches : function
        Yields what another function returns for each batch.
    file : binary file
    kind : {"csv", "jsonl", "json", "geojson"}
    query : dict, optional
        The question, written to JSON and GeoJSON.
    geometry : str, or pair of str, optional
        In GeoJSON, the column that becomes the geometry, or those of longitude and latitude; NULL geometries if None.

    Raises
    ------
    OutputError
        If GeoJSON needs longitudes and latitudes, and a row has none.
    """
    schema = schema.remove_metadata()
    if kind == "csv":
        header: list[str] = quoted_csv(strings(schema.names)).to_pylist()
        opening, ending = ",".join(header) + "\n" if header else "", ""
        before, after = "", "\n"
    elif kind == "jsonl":
        opening, before, after, ending = "", "", "\n", ""
    else:
        head = {"type": "FeatureCollection"} if kind == "geojson" else {}
        name = "features" if kind == "geojson" else "rows"
        document: dict[str, Any] = head | ({"query": query} if query else {}) | {name: []}
        opening = json.dumps(document, ensure_ascii=False).removesuffix("]}")
        before, after, ending = ",\n", "", "\n]}\n"

    def lines_of(batch: "pa.RecordBatch") -> "list[pa.Buffer]":
        return [_joined(_lines(part, schema, kind, geometry), before, after) for part in _parts(batch)]

    begun = False
    for buffers in batches(lines_of):
        for text in buffers:
            if not begun:  # an error in the first rows leaves nothing written
                file.write(opening.encode())
                text = text.slice(1) if before else text  # no comma before the first row
            begun = True
            file.write(text)
    file.write(((opening if not begun else "") + ending).encode())


def write_table_text(
    table: "pa.Table | pa.RecordBatchReader",
    file: IO[bytes],
    kind: str,
    *,
    query: dict[str, Any] | None = None,
    geometry: str | tuple[str, str] | None = _LON_LAT,
) -> None:
    """Write a table or a stream of batches as :func:`write_text` does."""
    batches: Iterable[pa.RecordBatch] = table.to_batches() if hasattr(table, "to_batches") else table
    write_text(table.schema, lambda then: map(then, batches), file, kind, query=query, geometry=geometry)


def _parts(batch: "pa.RecordBatch") -> "Iterator[pa.RecordBatch]":
    """Yield the rows of a batch, not too many at a time: Arrow's text has at most 2 GB."""
    rows = max(1, min(_ROWS, _BYTES * batch.num_rows // max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _lines(batch: "pa.RecordBatch", schema: "pa.Schema", kind: str, geometry: Any) -> "pa.StringArray":
    """Return the text of each row, without line ends."""
    columns = dict(zip(schema.names, zip(batch.columns, schema, strict=True), strict=True))
    if kind == "csv":
        missing = '""' if len(columns) == 1 else ""
        texts = [csv_column(column, field) for column, field in columns.values()]
        return concatenated(*texts, between=",", missing=missing)
    if kind != "geojson":
        return _objects(columns)
    shapes, used = _geometries(columns, geometry, batch.num_rows)
    properties = _objects({name: item for name, item in columns.items() if name not in used}, batch.num_rows)
    start, middle = '{"type": "Feature", "geometry": ', ', "properties": '
    return concatenated(start, shapes, middle, properties, "}")


def _objects(columns: "dict[str, tuple[pa.Array, pa.Field]]", rows: int = 0) -> "pa.StringArray":
    """Return each row as a JSON object."""
    parts: list[Any] = []
    for i, (name, (column, field)) in enumerate(columns.items()):
        parts += [f"{', ' if i else '{'}{json_string(name)}: ", json_column(column, field)]
    return concatenated(*parts, "}") if parts else strings(["{}"] * rows)


def _geometries(
    columns: "dict[str, tuple[pa.Array, pa.Field]]", geometry: Any, rows: int
) -> "tuple[pa.StringArray, tuple[str, ...]]":
    """Return the GeoJSON geometry of each row, and the columns that it is made of."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if geometry is None:
        return strings(["null"] * rows), ()
    if isinstance(geometry, str):
        column, field = columns[geometry]
        binary = pa.types.is_binary(column.type)
        shapes = geojson_of_wkb(column) if binary else json_column(column, field)
        return pc.fill_null(shapes, string("null")), (geometry,)
    texts = [json_column(*columns[name]) for name in geometry if name in columns and _is_number(columns[name][0])]
    if len(texts) < 2 or any(pc.any(pc.equal(text, string("null"))).as_py() for text in texts):
        raise OutputError(
            "GeoJSON needs columns lon and lat with a number in every row; select them, or take --format jsonl."
        )
    return concatenated('{"type": "Point", "coordinates": [', texts[0], ", ", texts[1], "]}"), geometry


def _is_number(column: "pa.Array") -> bool:
    import pyarrow as pa

    kind = column.type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _joined(lines: "pa.StringArray", before: str, after: str) -> "pa.Buffer":
    """Return lines as one text, each with something before and after it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = pa.Array.from_buffers(pa.int32(), 2, [None, pa.py_buffer(np.array([0, len(lines)], np.int32))])
    text = pc.binary_join(pa.ListArray.from_arrays(ends, lines), string(before + after))
    return concatenated(before, text, after)[0].as_buffer()
