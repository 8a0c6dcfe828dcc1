"""A user's table as candidates of a search: opened once, streamed as places, its rows fetched by number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ..database import Answer, Connection, check_condition, number_of, numpy_of, query_errors, quoted
from .row_locations import Located, Position, filled, find_position
from .source import ROW, Source, portable

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 65_536
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")


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

    Attributes
    ----------
    types : dict of str to str
        The columns, with DuckDB's name of each one's type.
    position : Position
        The columns that say where a row is.
    where : str or None
        The condition that a row must fulfil.
    """

    def __init__(self, source: Source, position: Position, where: str | None = None) -> None:
        self._source, self.types, self.position, self.where = source, source.types, position, where

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
            As :meth:`Source.open` takes it.
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
        source = Source.open(path)
        position = find_position(path, source.types, lon=lon, lat=lat, cell=cell, cells=True)
        if where is not None:
            with source.cursor() as connection:
                check_condition(connection, where, "numbered")
        return cls(source, position, where)

    def numbers(self) -> list[str]:
        """Return the columns of numbers, but for those that say where a row is."""
        plain = {name: kind.removeprefix("U").partition("(")[0] for name, kind in self.types.items()}
        return [name for name, kind in plain.items() if kind in _NUMBERS and name not in self.position.columns]

    def cursor(self) -> Connection:
        """Return another connection to the table's database, whose memory is bounded; close it."""
        return self._source.cursor()

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
        selected = ", ".join(f"{value} AS c{i}" for i, value in enumerate([ROW, *where, *values]))
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

        columns = ", ".join(f"{portable(name, kind)} AS {quoted(name)}" for name, kind in self.types.items())
        with self.cursor() as connection, query_errors():
            connection.register("picked", pa.table({"picked_at": np.arange(rows.size), "picked_row": rows}))
            joined = f"picked JOIN numbered ON numbered.{ROW} = picked.picked_row"
            found = connection.sql(f"SELECT picked.picked_at, {columns} FROM {joined}").to_arrow_table()
        return found.take(np.argsort(found.column(0).to_pylist())).select(range(1, found.num_columns))
