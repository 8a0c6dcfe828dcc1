"""A user's table whose rows are the candidates of a search: streamed as locations, then fetched by row number."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..database import Answer, Connection, check_condition, number_of, numpy_of, query_errors, quoted
from .row_locations import RowLocations, TableColumns, find_location_columns, nan_for_null
from .source import ROW, Source, portable

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 65_536
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")


@dataclass(frozen=True, slots=True)
class CandidateBatch:
    """Rows of a table that have a location on Earth.

    Attributes
    ----------
    row : (m,) int64
        Row number in the file, from 0; ascending.
    values : (m, c) float64
        The requested columns; NaN if a value is not a number.
    read : int
        Number of rows that were read for this batch.
    locations : RowLocations
        The locations of these rows, and the reasons why others were left out.
    """

    row: NDArray[np.int64]
    values: NDArray[np.float64]
    read: int
    locations: RowLocations


class Candidates:
    """A user's table, opened; make one with :meth:`open`.

    Attributes
    ----------
    types : dict of str to str
        The columns, with the name of their type in DuckDB.
    location : LocationColumns
        The columns with the location of a row.
    where : str or None
        The condition that a row must meet.
    """

    def __init__(self, source: Source, named: TableColumns, where: str | None = None) -> None:
        self._source, self._named, self.types, self.where = source, named, source.types, where
        self.location = find_location_columns(source.name, source.types, named)

    @classmethod
    def open(cls, path: str | Path, *, where: str | None = None, columns: TableColumns | None = None) -> Self:
        """Return the table in a file.

        Parameters
        ----------
        path : str or Path
            As in :meth:`Source.open`.
        where : str, optional
            A condition on the table's columns, in DuckDB's SQL.
        columns : TableColumns, optional
            The columns of degrees, or of H3 cells as whole numbers or hexadecimal text.

        Raises
        ------
        TableError
            If the file cannot be read, or lacks a column.
        QueryError
            If DuckDB rejects the condition.
        """
        source = Source.open(path)
        try:
            candidates = cls(source, columns or TableColumns(), where)
            if where is not None:
                with source.cursor() as connection:
                    check_condition(connection, where, "numbered")
        except BaseException:
            source.close()  # the traceback refers to it, and may outlive this call by a collection of garbage
            raise
        return candidates

    def describe(self) -> dict[str, Any]:
        """Return the file, the condition and the columns that the user named, as a dictionary for JSON."""
        options = {"where": self.where, **asdict(self._named)}
        return {"file": self._source.name} | {name: value for name, value in options.items() if value is not None}

    def numbers(self) -> list[str]:
        """Return the names of the numeric columns, without those of the location."""
        plain = {name: kind.removeprefix("U").partition("(")[0] for name, kind in self.types.items()}
        return [name for name, kind in plain.items() if kind in _NUMBERS and name not in self.location.columns]

    def cursor(self) -> Connection:
        """Return another connection to the table's database, for the caller to close."""
        return self._source.cursor()

    def batches(
        self, res: int | None = None, columns: Sequence[str] = (), *, filtered: bool = True
    ) -> Iterator[CandidateBatch]:
        """Yield the rows that have a location on Earth, in the order of the file.

        Parameters
        ----------
        res : int, optional
            The resolution of the cells to return, if any. The cell of a row may be finer, and then counts as its
            ancestor; rows with a coarser cell are left out.
        columns : sequence of str
            Numeric columns to read as well.
        filtered : bool
            Whether the condition applies.

        Raises
        ------
        QueryError
            If DuckDB fails to evaluate the condition.
        """
        expressions = self.location.sql(self.types)
        values = [nan_for_null(number_of(name, self.types[name])) for name in columns]
        selected = ", ".join(f"{value} AS c{i}" for i, value in enumerate([ROW, *expressions, *values]))
        condition = "" if self.where is None or not filtered else f" WHERE ({self.where}\n)"
        with self.cursor() as connection:
            answer = Answer(connection, f"SELECT {selected} FROM numbered{condition}")
            for batch in answer.to_arrow_reader(_BATCH_ROWS):
                row, *rest = batch.columns
                locations = self.location.locate(rest[: len(expressions)], res)
                matrix = np.empty((len(row), len(values)))
                for i, column in enumerate(rest[len(expressions) :]):
                    matrix[:, i] = numpy_of(column)
                yield CandidateBatch(numpy_of(row)[locations.kept], matrix[locations.kept], len(row), locations)

    def fetch(self, rows: NDArray[np.int64]) -> "pa.Table":
        """Return every column of some rows, in the given order.

        Geometries become WKT; intervals, bits, unions and timestamps in nanoseconds become text.
        """
        import pyarrow as pa

        columns = ", ".join(f"{portable(name, kind)} AS {quoted(name)}" for name, kind in self.types.items())
        with self.cursor() as connection, query_errors():
            connection.register("picked", pa.table({"picked_at": np.arange(rows.size), "picked_row": rows}))
            joined = f"picked JOIN numbered ON numbered.{ROW} = picked.picked_row"
            table = connection.sql(f"SELECT picked.picked_at, {columns} FROM {joined}").to_arrow_table()
        return table.take(np.argsort(table.column(0).to_pylist())).select(range(1, table.num_columns))
