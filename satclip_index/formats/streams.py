"""A stream of Arrow batches written as csv, jsonl, json, geojson or parquet, in memory that does not grow."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..database import Answer, Connection, open_database, query_errors, quoted
from ..errors import OutputError
from ..storage.atomic import atomic_file
from ..storage.geoparquet import geo_metadata
from ._parquet_writer import write_parquet
from .rows import FORMATS, SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

Batches = Callable[[Callable[["pa.RecordBatch"], Any]], Iterator[Any]]
"""Given what to do with each batch, what came of it, in order."""

_MEMORY = "256MB"
_LINES = 8192  # of text at a time
_AS_THEY_ARE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "BOOLEAN")


@dataclass(frozen=True, slots=True)
class Geometries:
    """Columns of WKB: the ``primary`` one, the table's own ``other``, and the type of those that were added.

    ``projected`` says that the table's own is in other coordinates than degrees.
    """

    primary: str | None = None
    other: str | None = None
    kind: str | None = None
    projected: bool = False

    @property
    def names(self) -> set[str]:
        """All there are."""
        return {name for name in (self.primary, self.other) if name}

    def metadata(self) -> dict[str, Any]:
        """Return what GeoParquet wants said of them; of the table's own the types are not known."""
        if self.primary is None:
            return {}
        own = geo_metadata([self.kind, f"Multi{self.kind}"] if self.kind == "Polygon" else [self.kind or ""])
        other = geo_metadata([])["columns"]["geometry"] | ({"crs": None} if self.projected else {})
        columns = dict.fromkeys(self.names, other)
        if self.kind:
            columns[self.primary] = own["columns"]["geometry"]
        return {"geo": json.dumps(own | {"primary_column": self.primary, "columns": columns})}


def format_of(target: str | Path | IO[bytes], format: str | None) -> str:
    """Return the format asked for, or what the name of a file says; raise OutputError where there is none."""
    suffix = Path(target).suffix.lower() if isinstance(target, str | Path) else ""
    kind = format or SUFFIXES.get(suffix)
    if kind not in FORMATS:
        wrong = f"{format!r} is not a format" if format else f"The name {target} implies no format"
        raise OutputError(f"{wrong}; expected one of {', '.join(FORMATS)}.")
    return kind


@contextmanager
def whole_file(path: Path, source: str) -> Iterator[IO[bytes]]:
    """Yield a file that takes its name when it is complete; ``source`` is what must not be overwritten."""
    same = False
    with suppress(OSError, ValueError):  # what is wrong with a path is raised when it is written
        same = path.samefile(source)
    if same:
        raise OutputError(f"{path} is the table that is read; name another file with -o.")
    with atomic_file(path) as file:
        yield file


def write_batches(
    schema: "pa.Schema",
    batches: Batches,
    file: IO[bytes],
    kind: str,
    geometries: Geometries,
    halves: Mapping[str, int],
) -> None:
    """Write a stream of batches in a format.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of every batch.
    batches : function
        Given what to do with each batch, yields what came of it, in order.
    file : binary file
    kind : {"csv", "jsonl", "json", "geojson", "parquet"}
    geometries : Geometries
        Which columns are WKB.
    halves : mapping of str to int
        As :func:`write_parquet` has them.
    """
    if kind == "parquet":
        metadata = {**(schema.metadata or {}), **geometries.metadata()}
        write_parquet(schema.with_metadata(metadata), batches, file, halves)
    else:
        _write_text(schema, batches, file, kind, geometries)


def _write_text(schema: "pa.Schema", batches: Batches, file: IO[bytes], kind: str, geometries: Geometries) -> None:
    """Write text that DuckDB makes of the values."""
    import pyarrow as pa

    failure: list[BaseException] = []

    def guarded() -> Iterator["pa.RecordBatch"]:
        try:
            yield from batches(lambda batch: batch.cast(schema))
        except BaseException as error:  # DuckDB, which reads this, would tell of it in its own words
            failure.append(error)
            raise

    with open_database(memory_limit=_MEMORY) as connection:
        connection.register("joined", pa.RecordBatchReader.from_batches(schema, guarded()))
        with query_errors():
            described = connection.execute("DESCRIBE joined").fetchall()
        types = {name: type for name, type, *_ in described}
        try:
            if kind == "csv":
                _write_csv(connection, types, file, geometries)
            else:
                _write_json(connection, types, file, kind, geometries)
        except BaseException:
            if failure:
                raise failure[0] from None
            raise


def _write_csv(connection: Connection, types: dict[str, str], file: IO[bytes], geometries: Geometries) -> None:
    from pyarrow import csv

    columns = [f"{_in_csv(name, kind, geometries)} AS {quoted(name)}" for name, kind in types.items()]
    reader = Answer(connection, f"SELECT {', '.join(columns)} FROM joined").to_arrow_reader(_LINES)
    with csv.CSVWriter(file, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def _write_json(
    connection: Connection, types: dict[str, str], file: IO[bytes], kind: str, geometries: Geometries
) -> None:
    if kind == "geojson":
        shape = "NULL" if geometries.primary is None else _geojson(geometries.primary)
        properties = {name: kind for name, kind in types.items() if name != geometries.primary}
        line = f"json_object('type', 'Feature', 'geometry', {shape}, 'properties', {_object(properties, geometries)})"
        opening, between, end = b'{"type": "FeatureCollection", "features": [\n', b",\n", b"\n]}\n"
    else:
        line = _object(types, geometries)
        opening, between, end = (b"", b"\n", b"\n") if kind == "jsonl" else (b'{"rows": [\n', b",\n", b"\n]}\n")
    file.write(opening)
    anything = False
    for batch in Answer(connection, f"SELECT ({line})::VARCHAR AS line FROM joined").to_arrow_reader(_LINES):
        if batch.num_rows:
            file.write((between if anything else b"") + between.join(map(str.encode, batch.column(0).to_pylist())))
            anything = True
    file.write(end if anything or kind != "jsonl" else b"")


def _object(types: dict[str, str], geometries: Geometries) -> str:
    """Return the SQL of a JSON object of columns."""
    pairs = (
        f"'{name.replace(chr(39), chr(39) * 2)}', {_in_json(name, kind, geometries)}" for name, kind in types.items()
    )
    return f"json_object({', '.join(pairs)})"


def _in_csv(name: str, kind: str, geometries: Geometries) -> str:
    value = quoted(name)
    if special := _special(name, kind, geometries):
        return special
    if kind in _AS_THEY_ARE or kind in ("DOUBLE", "FLOAT", "VARCHAR"):
        return value
    if kind in ("FLOAT[]", "DOUBLE[]"):
        return f"{value}::VARCHAR"
    return (
        f"to_json({value})::VARCHAR"
        if kind.endswith("]") or ("(" in kind and "DECIMAL" not in kind)
        else f"{value}::VARCHAR"
    )


def _in_json(name: str, kind: str, geometries: Geometries) -> str:
    value = quoted(name)
    if special := _special(name, kind, geometries):
        return special
    if kind in ("FLOAT", "DOUBLE"):  # JSON has no number that is not finite; and a FLOAT's text is shorter
        return f"CASE WHEN isfinite({value}) THEN {value}::VARCHAR::JSON END"
    if kind == "FLOAT[]":
        return f"{value}::VARCHAR::JSON"
    if kind.startswith(("DECIMAL", "HUGEINT", "UHUGEINT")):
        return f"{value}::VARCHAR::JSON"
    return value


def _special(name: str, kind: str, geometries: Geometries) -> str | None:
    """Return the SQL of what text formats have as other text: geometries, other binary values, cells."""
    value = quoted(name)
    if name in geometries.names and kind.startswith("GEOMETRY"):
        return f"ST_AsText({value})"
    if name in geometries.names and kind == "BLOB":
        return f"TRY(ST_AsText(ST_GeomFromWKB({value})))"
    if kind == "BLOB":
        return f"lower(hex({value}))"
    if kind == "UBIGINT" and (name.lower() == "cell" or name.lower().endswith("_cell")):
        return f"printf('%x', {value})"
    return None


def _geojson(name: str) -> str:
    return f"TRY(ST_AsGeoJSON(ST_GeomFromWKB({quoted(name)})))"
