"""A table that a person loads: bounded, read as data, its condition evaluated where nothing else can be reached."""

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
_MOST_KEPT = 4  # files of conditions
_SECONDS = 5  # that a condition may take


class Upload:
    """A file that arrives in parts, in a folder of its own that goes away with :meth:`close`.

    Parameters
    ----------
    name : str
        What the user calls it; only its ending is used on the disk.

    Raises
    ------
    TableError
        If its ending is none of a table's.
    """

    def __init__(self, name: str) -> None:
        suffix = Path(name).suffix.lower()
        if suffix not in KINDS:
            raise TableError(
                f"{name!r} is no table that can be loaded; expected a name that ends in {', '.join(KINDS)}."
            )
        self.name, self._size = name, 0
        self._folder = TemporaryDirectory(prefix="satclip-index-")
        self.path = Path(self._folder.name) / f"table{suffix}"

    def write(self, part: bytes) -> None:
        """Add bytes, or raise TableError if they are too many."""
        self._size += len(part)
        if self._size > MOST_BYTES:
            self.close()
            raise TableError(
                f"{self.name} is larger than {MOST_BYTES // 1_000_000} MB, the most that can be loaded here. Take "
                "fewer rows or columns, or use: satclip-index like --table"
            )
        with self.path.open("ab") as file:
            file.write(part)

    def close(self) -> None:
        """Remove it."""
        self._folder.cleanup()


class Table:
    """A table that was loaded, and the rows of it that conditions leave.

    Parameters
    ----------
    upload : Upload
        Complete; it is removed once it is read.

    Attributes
    ----------
    columns : dict of str to str
        DuckDB's name of each one's type.

    Raises
    ------
    TableError
        If it cannot be read, is too long, or has no columns that say where a row is.

    Notes
    -----
    The rows are copied into a database of its own, which is then locked: a condition reaches no file, network,
    extension or Python variable, and is interrupted after five seconds. What it leaves is written as a file, and that
    is what :meth:`Atlas.like` reads: no SQL of the user's runs anywhere else.
    """

    def __init__(self, upload: Upload) -> None:
        self.name = upload.name
        self._folder, self._lock = TemporaryDirectory(prefix="satclip-index-"), Lock()
        self._kept: dict[str, Path] = {}
        self._written = 0
        self._connection: Connection | None = None
        try:
            with _called(upload):
                self.columns = self._load(upload.path)
        except BaseException:
            self.close()
            raise
        finally:
            upload.close()

    def rows_where(self, condition: str) -> Path:
        """Return a file of the rows of which a condition holds; of all rows if it is empty.

        Raises
        ------
        QueryError
            If DuckDB does not take the condition, or it takes too long.
        """
        with self._lock:
            if condition not in self._kept:
                self._kept[condition] = self._write(condition)
                if len(self._kept) > _MOST_KEPT:
                    self._kept.pop(next(iter(self._kept))).unlink()
            return self._kept[condition]

    def close(self) -> None:
        """Remove everything."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._folder.cleanup()

    def _load(self, path: Path) -> dict[str, str]:
        """Copy the rows of a file into a database, lock it, and return its columns."""
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
        chosen = ""
        with self._connection.cursor() as connection:
            if condition:
                check_condition(connection, condition, "rows")
                chosen = f" WHERE ({condition}\n)"
            with query_errors():
                write_table(connection.sql(f"FROM rows{chosen}").to_arrow_reader(_ROWS_AT_ONCE), path)
        return path


def _bounded(rows: "pa.RecordBatchReader", path: Path) -> "pa.RecordBatchReader":
    """Return the batches, or raise TableError once they are many times what a compressed file seemed to be."""
    import pyarrow as pa

    def counted() -> Iterator["pa.RecordBatch"]:
        size = 0
        for batch in rows:
            size += batch.nbytes
            if size > MOST_READ_BYTES:
                raise TableError(f"{path} holds more than {MOST_READ_BYTES // 1_000_000} MB once it is unpacked.")
            yield batch

    return pa.RecordBatchReader.from_batches(rows.schema, counted())


@contextmanager
def _called(upload: Upload) -> Iterator[None]:
    """Call the file by the user's name in what is complained of."""
    try:
        yield
    except TableError as error:
        raise TableError(str(error).replace(str(upload.path), upload.name)) from None
