"""A user's table as a DuckDB relation in bounded memory: a file, or Arrow data."""

import weakref
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from ..database import Connection, open_database, query_errors, quoted, reading, table_in
from ..errors import TableError
from .geojson_rows import GEOMETRY, holds_features, write_lines

ROW = '"row number (satclip-index)"'
_MEMORY = "256MB"  # the memory limit of DuckDB, which spills to disk; sorting ten million rows is no faster with 1 GB
_SAMPLE_ROWS = 1_000_000
_AS_TEXT = (
    "INTERVAL",
    "BIT",
    "UNION",
    "BIGNUM",
    "VARIANT",
    "TIMESTAMP_NS",
)  # types that Parquet or Python do not support


class Source:
    """An open table; make one with :meth:`open`. Its rows are the DuckDB relation ``numbered``, in their order.

    Parquet is read in place. Text is copied once into a database in a temporary folder, which is deleted with this
    object.

    Attributes
    ----------
    types : dict of str to str
        The columns, with the name of their type in DuckDB.
    name : str
        The name of the table in errors.
    rows : int or None
        Number of rows; None if it is not known before reading.
    """

    def __init__(
        self, connection: Connection, types: dict[str, str], name: str, rows: int | None, table: Any = None
    ) -> None:
        self._connection, self._table, self._read = connection, table, False
        self._finalizer: Callable[[], object] | None = None
        self.types, self.name, self.rows = types, name, rows

    @classmethod
    def open(cls, table: Any) -> Self:
        """Return a table.

        Parameters
        ----------
        table : str, Path, or object with ``__arrow_c_stream__``
            A file: CSV, TSV, Parquet, GeoParquet, JSON, JSON lines (text also as ``.gz``), or GeoJSON, a collection of
            features or one per line, whose properties become columns. Or a table of pandas, Polars or Arrow, or a
            stream of batches, which is read once.

        Raises
        ------
        TableError
            If it cannot be read.
        """
        folder = TemporaryDirectory(prefix="satclip-index-")
        connection = None
        try:
            root = Path(folder.name)
            connection = open_database(root / "table", memory_limit=_MEMORY, temp_directory=str(root / "spill"))
            if isinstance(table, str | Path):
                types = _load(connection, Path(table), root)
                rows = int(_first(connection, "SELECT count(*) FROM numbered"))
                source = cls(connection, types, str(table), rows)
            else:
                types = _register(connection, table)
                source = cls(connection, types, "The table", getattr(table, "num_rows", None), table)
        except BaseException:
            _close(connection, folder)
            raise
        source._finalizer = weakref.finalize(source, _close, connection, folder)
        return source

    def close(self) -> None:
        """Close the database and delete the copy of the table, before the last reference to this goes."""
        if self._finalizer is not None:
            self._finalizer()

    def cursor(self) -> Connection:
        """Return another connection to the table's database, for the caller to close.

        A table in memory is visible to one connection only, which is returned.
        """
        if self._table is None:
            return self._connection.cursor()
        if self._read:
            _register(self._connection, self._table)
        self._read = True
        return self._connection


def portable(name: str, kind: str, *, geometry: str = "ST_AsText") -> str:
    """Return the SQL that reads a column of ``numbered`` as a type that every format supports."""
    value = f"numbered.{quoted(name)}"
    if kind.startswith("GEOMETRY"):
        return f"{geometry}({value})"
    return f"CAST({value} AS VARCHAR)" if kind.startswith(_AS_TEXT) else value


def _first(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _close(connection: Connection | None, folder: "TemporaryDirectory[str]") -> None:
    if connection is not None:
        connection.close()
    folder.cleanup()


def _register(connection: Connection, table: Any) -> dict[str, str]:
    """Create the relation ``numbered`` of a table in memory; return its columns."""
    import pyarrow as pa

    if not hasattr(table, "__arrow_c_stream__"):
        raise TableError(
            f"{type(table).__name__} is no table; expected the name of a file, or a table of pandas, Polars or Arrow."
        )
    with query_errors():
        connection.register("numbered", pa.RecordBatchReader.from_stream(table))
        described = connection.execute("DESCRIBE numbered").fetchall()
    return {name: kind for name, kind, *_ in described}


def _load(connection: Connection, path: Path, folder: Path) -> dict[str, str]:
    """Create the relation ``numbered`` of a file's rows and row numbers; return the columns of the file."""
    if holds_features(path):
        return _load_features(connection, path, folder / "rows.jsonl")
    source = table_in(path, sample=_SAMPLE_ROWS)
    with reading(path):
        if source.startswith("read_parquet"):
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            has_number = any(name.lower() == "file_row_number" for name, *_ in described)
            number = "row_number() OVER () - 1" if has_number else "file_row_number"
            connection.execute(f"CREATE VIEW numbered AS SELECT {number} AS {ROW}, * FROM {source}")
            return {name: kind for name, kind, *_ in described}
    return _copy(connection, path, source, table_in(path))


def _load_features(connection: Connection, path: Path, lines: Path) -> dict[str, str]:
    """Create the relation ``numbered`` of GeoJSON; return its columns, with the geometry if there is one."""
    empty = not write_lines(path, lines)
    with reading(path):
        if empty:
            connection.execute(f"CREATE TABLE numbered AS SELECT 0 AS {ROW}, NULL::GEOMETRY AS geometry LIMIT 0")
            return {GEOMETRY: "GEOMETRY"}
    first, again = table_in(lines, sample=_SAMPLE_ROWS), table_in(lines)
    with reading(path):
        described = connection.execute(f"DESCRIBE FROM {first}").fetchall()
    if any(name == GEOMETRY for name, *_ in described):
        shape = f"TRY(ST_GeomFromGeoJSON({GEOMETRY}::VARCHAR)) AS {GEOMETRY}"
        first, again = (f"(SELECT * REPLACE ({shape}) FROM {source})" for source in (first, again))
    types = _copy(connection, path, first, again)
    lines.unlink()
    return types


def _copy(connection: Connection, path: Path, source: str, again: str) -> dict[str, str]:
    """Create the table ``numbered``; if a late row does not have the sampled type, from the second source."""
    query = f"CREATE TABLE numbered AS SELECT row_number() OVER () - 1 AS {ROW}, * FROM"
    try:
        with reading(path):
            connection.execute(f"{query} {source}")
    except TableError:
        with reading(path):
            connection.execute(f"{query} {again}")
    described = connection.execute("DESCRIBE numbered").fetchall()
    return {name: kind for name, kind, *_ in described[1:]}
