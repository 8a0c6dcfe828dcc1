"""A user's table as candidates of a search: opened once, streamed as places, its rows fetched by number."""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from .database import Answer, Connection, number_of, numpy_of, one_line, open_database, quoted, reading, table_in
from .errors import QueryError, TableError
from .positions import Located, Position, filled, find_position

if TYPE_CHECKING:
    import pyarrow as pa

_MEMORY = "256MB"  # DuckDB's own bound; the rest is on disk. Sorting ten million rows is no faster with 1 GB.
_SAMPLE_ROWS = 1_000_000
_BATCH_ROWS = 65_536
_ROW = '"row number (satclip-index)"'
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")
_AS_TEXT = ("INTERVAL", "BIT", "UNION", "BIGNUM", "VARIANT", "TIMESTAMP_NS")  # what Parquet or Python cannot hold


@dataclass(frozen=True, slots=True)
class Places:
    """Some rows of a table that are somewhere on Earth.

    Attributes
    ----------
    row : (m,) int64
        Position in the file, from 0; ascending.
    values : (m, c) float64
        The columns asked for; NaN where there is no number.
    read : int
        How many rows were looked at for these.
    located : Located
        Where these are, and why others were left out.
    """

    row: NDArray[np.int64]
    values: NDArray[np.float64]
    read: int
    located: Located


class Candidates:
    """A user's table, opened; make one with :meth:`open`.

    Parquet is read where it lies. Text is copied once into a database in a temporary folder, which goes away with
    this object.

    Attributes
    ----------
    types : dict of str to str
        The columns, with DuckDB's name of each one's type.
    position : Position
        The columns that say where a row is.
    where : str or None
        The condition that a row must fulfil.
    """

    def __init__(
        self, connection: Connection, types: dict[str, str], position: Position, where: str | None = None
    ) -> None:
        self._connection, self.types, self.position, self.where = connection, types, position, where

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        where: str | None = None,
        lon: str | None = None,
        lat: str | None = None,
        cell: str | None = None,
    ) -> Self:
        """Return the table in a file.

        Parameters
        ----------
        path : str or Path
            CSV, TSV, Parquet, GeoParquet, JSON or JSON lines; text may be compressed as ``.gz``.
        where : str, optional
            A condition over the table's columns, in DuckDB's SQL.
        lon, lat : str, optional
            Columns of degrees. By default :func:`find_position` finds them, or cells, or points.
        cell : str, optional
            Column of H3 cells: whole numbers or hexadecimal text.

        Raises
        ------
        TableError
            If the file cannot be read, or lacks a column.
        QueryError
            If DuckDB does not take the condition.
        """
        folder = TemporaryDirectory(prefix="satclip-index-")
        connection = None
        try:
            root = Path(folder.name)
            connection = open_database(root / "table", memory_limit=_MEMORY, temp_directory=str(root / "spill"))
            types = _load(connection, Path(path))
            position = find_position(path, types, lon=lon, lat=lat, cell=cell, cells=True)
            if where is not None:
                _check_condition(connection, where)
        except BaseException:
            _close(connection, folder)
            raise
        made = cls(connection, types, position, where)
        weakref.finalize(made, _close, connection, folder)
        return made

    def numbers(self) -> list[str]:
        """Return the columns of numbers, but for those that say where a row is."""
        plain = {name: kind.removeprefix("U").partition("(")[0] for name, kind in self.types.items()}
        return [name for name, kind in plain.items() if kind in _NUMBERS and name not in self.position.columns]

    def cursor(self) -> Connection:
        """Return another connection to the table's database, whose memory is bounded; close it."""
        return self._connection.cursor()

    def places(self, res: int | None = None, columns: Sequence[str] = (), *, filtered: bool = True) -> Iterator[Places]:
        """Yield the rows that are somewhere on Earth, in the order of the file, a batch at a time.

        Parameters
        ----------
        res : int, optional
            The resolution of their cells, if these are needed. A row that names a finer cell counts by its ancestor;
            a coarser one is left out.
        columns : sequence of str
            Columns of numbers to read along.
        filtered : bool
            Whether the condition applies.

        Raises
        ------
        QueryError
            If DuckDB fails at the condition.
        """
        where = self.position.sql(self.types)
        values = [filled(number_of(name, self.types[name])) for name in columns]
        selected = ", ".join(f"{value} AS c{i}" for i, value in enumerate([_ROW, *where, *values]))
        condition = "" if self.where is None or not filtered else f" WHERE ({self.where}\n)"
        with self.cursor() as connection:
            answer = Answer(connection, f"SELECT {selected} FROM numbered{condition}")
            for batch in answer.to_arrow_reader(_BATCH_ROWS):
                row, *rest = batch.columns
                found = self.position.locate(rest[: len(where)], res)
                matrix = np.empty((len(row), len(values)))
                for i, column in enumerate(rest[len(where) :]):
                    matrix[:, i] = numpy_of(column)
                yield Places(numpy_of(row)[found.kept], matrix[found.kept], len(row), found)

    def fetch(self, rows: NDArray[np.int64]) -> "pa.Table":
        """Return every column of some rows, in the order asked for.

        Geometries become WKT; intervals, bits, unions and times of nanoseconds become text.
        """
        import pyarrow as pa

        columns = ", ".join(f"{_portable(name, kind)} AS {quoted(name)}" for name, kind in self.types.items())
        with self.cursor() as connection, one_line():
            connection.register("picked", pa.table({"picked_at": np.arange(rows.size), "picked_row": rows}))
            joined = f"picked JOIN numbered ON numbered.{_ROW} = picked.picked_row"
            found = connection.sql(f"SELECT picked.picked_at, {columns} FROM {joined}").to_arrow_table()
        return found.take(np.argsort(found.column(0).to_pylist())).select(range(1, found.num_columns))


def _close(connection: Connection | None, folder: "TemporaryDirectory[str]") -> None:
    if connection is not None:
        connection.close()
    folder.cleanup()


def _load(connection: Connection, path: Path) -> dict[str, str]:
    """Make the relation ``numbered`` of a file's rows and their numbers; return the columns of the file."""
    source = table_in(path, sample=_SAMPLE_ROWS)
    with reading(path):
        if source.startswith("read_parquet"):
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            taken = any(name.lower() == "file_row_number" for name, *_ in described)
            number = "row_number() OVER () - 1" if taken else "file_row_number"
            connection.execute(f"CREATE VIEW numbered AS SELECT {number} AS {_ROW}, * FROM {source}")
            return {name: kind for name, kind, *_ in described}
    try:
        _copy(connection, path, source)
    except TableError:  # a late row may not be of the type that the sample was
        _copy(connection, path, table_in(path))
    found = connection.execute("DESCRIBE numbered").fetchall()
    return {name: kind for name, kind, *_ in found[1:]}


def _copy(connection: Connection, path: Path, source: str) -> None:
    with reading(path):
        connection.execute(f"CREATE TABLE numbered AS SELECT row_number() OVER () - 1 AS {_ROW}, * FROM {source}")


def _check_condition(connection: Connection, where: str) -> None:
    """Raise QueryError unless a condition is one expression, over columns that there are."""
    if not where.strip():
        raise QueryError("The condition is empty; expected SQL such as: population > 1e6")
    try:
        with one_line():
            # What closes the one bracket to open another, or has a THEN of its own, fails in the other.
            connection.extract_statements(f"SELECT CASE WHEN {where}\n THEN 1 END")
            connection.extract_statements(f"SELECT 1 WHERE ({where}\n)")
            connection.sql(f"SELECT 1 FROM numbered WHERE ({where}\n)")
    except QueryError as error:
        raise QueryError(f"The condition {where!r} is not one that DuckDB takes: {error}") from None


def _portable(name: str, kind: str) -> str:
    """Return the SQL that reads a column as something every format can hold."""
    value = f"numbered.{quoted(name)}"
    if kind.startswith("GEOMETRY"):
        return f"ST_AsText({value})"
    return f"CAST({value} AS VARCHAR)" if kind.startswith(_AS_TEXT) else value
