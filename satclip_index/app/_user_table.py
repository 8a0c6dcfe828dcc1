"""An uploaded table: limited in size, with conditions evaluated in an isolated database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING

from ..database import Connection, check_condition, lock, open_database, query_errors, quoted, reading, table_in
from ..errors import TableError
from ..storage.geoparquet import write_table
from ..tables.geojson_rows import GEOMETRY
from ..tables.row_locations import find_location_columns
from ..tables.source import Source, portable

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BYTES, MOST_READ_BYTES = 20_000_000, 500_000_000
MOST_ROWS = 1_000_000
KINDS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".geojson", ".parquet", ".geoparquet")
_MEMORY = "256MB"
_ROWS_AT_ONCE = 65_536
_MOST_FILES = 4  # filtered files
_SECONDS = 5  # time limit of a condition


class Upload:
    """A file that is uploaded in parts, in a temporary folder that :meth:`close` removes.

    Parameters
    ----------
    name : str
        Name given by the user; only its suffix is used on disk.

    Raises
    ------
    TableError
        If the suffix is not that of a table.
    """

    def __init__(self, name: str) -> None:
        suffix = Path(name).suffix.lower()
        if suffix not in KINDS:
            raise TableError(f"{name!r} is not a supported table; expected a name that ends in {', '.join(KINDS)}.")
        self.name, self._size = name, 0
        self._folder = TemporaryDirectory(prefix="satclip-index-")
        self.path = Path(self._folder.name) / f"table{suffix}"

    def write(self, part: bytes) -> None:
        """Append bytes, or raise TableError if the file becomes too large."""
        self._size += len(part)
        if self._size > MOST_BYTES:
            self.close()
            raise TableError(
                f"{self.name} is larger than {MOST_BYTES // 1_000_000} MB, the most that can be loaded here. Use "
                "fewer rows or columns, or the command: satclip-index like --table"
            )
        with self.path.open("ab") as file:
            file.write(part)

    def close(self) -> None:
        """Remove the file."""
        self._folder.cleanup()


class Table:
    """An uploaded table, and its rows under conditions.

    Parameters
    ----------
    upload : Upload
        A complete file; it is removed after reading.

    Attributes
    ----------
    columns : dict of str to str
        DuckDB type of each column.

    Raises
    ------
    TableError
        If the file cannot be read, has too many rows, or no columns with locations.

    Notes
    -----
    The rows are copied into a separate database, which is then locked: a condition cannot access files, network,
    extensions or Python variables, and is interrupted after five seconds. The remaining rows are written to a file for
    :meth:`Atlas.like`, so SQL of the user runs nowhere else.
    """

    def __init__(self, upload: Upload) -> None:
        self.name = upload.name
        self._folder, self._lock = TemporaryDirectory(prefix="satclip-index-"), Lock()
        self._filtered: dict[str, Path] = {}
        self._written = 0
        self._connection: Connection | None = None
        try:
            with _user_name_in_errors(upload):
                self.columns = self._load(upload.path)
        except BaseException:
            self.close()
            raise
        finally:
            upload.close()

    def rows_where(self, condition: str) -> Path:
        """Return a file of the rows that satisfy a condition; of all rows if it is empty.

        Raises
        ------
        QueryError
            If the condition is invalid or takes too long.
        """
        with self._lock:
            if condition not in self._filtered:
                self._filtered[condition] = self._write(condition)
                if len(self._filtered) > _MOST_FILES:
                    self._filtered.pop(next(iter(self._filtered))).unlink()
            return self._filtered[condition]

    def close(self) -> None:
        """Remove all files."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._folder.cleanup()

    def _load(self, path: Path) -> dict[str, str]:
        """Copy the rows of a file into a database, lock the database, and return its columns."""
        folder = Path(self._folder.name)
        source = Source.open(path)
        if (source.rows or 0) > MOST_ROWS:
            raise TableError(f"{path} has {source.rows:,} rows; at most {MOST_ROWS:,} can be loaded here.")
        try:
            geometry = find_location_columns(path, source.types).geometry
        except TableError:
            columns = ", ".join(source.types)
            raise TableError(f"{path} has no columns lon and lat, cell, or geometry; it has {columns[:300]}.") from None
        columns = ", ".join(
            f"{portable(name, kind, geometry='ST_AsWKB')} AS {quoted(GEOMETRY if name == geometry else name)}"
            for name, kind in source.types.items()
        )
        with source.cursor() as connection, reading(path):
            rows = connection.sql(f"SELECT {columns} FROM numbered").to_arrow_reader(_ROWS_AT_ONCE)
            write_table(_bounded(rows, path), folder / "rows.parquet")
        connection = open_database(folder / "table", memory_limit=_MEMORY, temp_directory=str(folder / "spill"))
        self._connection = connection
        with reading(path):
            connection.execute(f"CREATE TABLE rows AS FROM {table_in(folder / 'rows.parquet')}")
        (folder / "rows.parquet").unlink()
        connection.execute(f"SET GLOBAL max_execution_time = {1000 * _SECONDS}")
        lock(connection)
        return {name: kind for name, kind, *_ in connection.execute("DESCRIBE rows").fetchall()}

    def _write(self, condition: str) -> Path:
        assert self._connection is not None
        self._written += 1
        path = Path(self._folder.name) / f"{self._written}.parquet"
        where = ""
        with self._connection.cursor() as connection:
            if condition:
                check_condition(connection, condition, "rows")
                where = f" WHERE ({condition}\n)"
            with query_errors():
                write_table(connection.sql(f"FROM rows{where}").to_arrow_reader(_ROWS_AT_ONCE), path)
        return path


def _bounded(rows: "pa.RecordBatchReader", path: Path) -> "pa.RecordBatchReader":
    """Return the batches, or raise TableError once their unpacked size exceeds the limit."""
    import pyarrow as pa

    def batches() -> Iterator["pa.RecordBatch"]:
        size = 0
        for batch in rows:
            size += batch.nbytes
            if size > MOST_READ_BYTES:
                raise TableError(f"{path} has more than {MOST_READ_BYTES // 1_000_000} MB of uncompressed data.")
            yield batch

    return pa.RecordBatchReader.from_batches(rows.schema, batches())


@contextmanager
def _user_name_in_errors(upload: Upload) -> Iterator[None]:
    """Replace the temporary file name in errors by the name that the user gave."""
    try:
        yield
    except TableError as error:
        raise TableError(str(error).replace(str(upload.path), upload.name)) from None
