"""Ranking of a user's table: its rows most similar to a query, under the rules of a search."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..database import numpy_of, query_errors
from ..geo import grid, sphere
from ..search.greedy_selection import GreedySelection
from ..search.index import Index
from ..search.search_rules import SearchRules
from .candidates import Candidates

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 16_384
_COLUMNS = {"row": np.int64, "cell": np.uint64, "lon": np.float64, "lat": np.float64, "similarity": np.float32}


@dataclass(frozen=True, slots=True)
class RankedRows:
    """Rows of a table, most similar first, ties in the order of the file.

    Attributes
    ----------
    row : (n,) int64
        Row number in the file, from 0.
    cell : (n,) uint64
        The cell of the atlas that contains the row.
    lon, lat : (n,) float64
        Degrees: the point of the row, or the center of its cell.
    similarity : (n,) float32
        Inner product of the cell's stored vector with the query.
    table : pyarrow.Table
        All columns of these rows, with their original names.
    read : int
        Number of rows that meet the condition.
    candidates : int
        Number of those that the atlas has a cell for.
    left_out : dict of str to int
        Number of the other rows, by reason.
    """

    row: NDArray[np.int64]
    cell: grid.Cells
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    similarity: NDArray[np.float32]
    table: "pa.Table"
    read: int
    candidates: int
    left_out: dict[str, int]

    def __len__(self) -> int:
        return int(self.row.size)


def rank_table(
    index: Index,
    query: NDArray[np.float32],
    candidates: Candidates,
    rules: SearchRules,
    examples: sphere.PointSet,
) -> RankedRows:
    """Return the rows of a table that are most similar to a query, in memory that does not grow with the table.

    Parameters
    ----------
    index : Index
        The resolution of the atlas at which rows are compared.
    query : (dim,) float32
    candidates : Candidates
        The table. All its rows are compared, on land or not.
    rules : SearchRules
        All apply except ``ocean`` and ``min_percentile``.
    examples : PointSet
        The points that ``exclude_within_km`` applies to.

    Returns
    -------
    RankedRows
        Fewer than ``rules.k`` if no more rows qualify.

    Raises
    ------
    QueryError
        If DuckDB fails to evaluate the table's condition.

    Notes
    -----
    One pass over the table computes the similarity of every row; DuckDB sorts the rows out of core; and the sorted rows
    are read only until enough are selected.
    """
    import pyarrow as pa

    comparison = _Comparison(index, query, candidates)
    schema = pa.schema([(name, pa.from_numpy_dtype(dtype)) for name, dtype in _COLUMNS.items()])
    selection = GreedySelection(rules, examples)
    selection.add({name: np.empty(0, dtype) for name, dtype in _COLUMNS.items()})
    with candidates.cursor() as connection:
        connection.register("compared", pa.RecordBatchReader.from_batches(schema, comparison.batches(schema)))
        with comparison.original_errors(), query_errors():
            batches = connection.sql("FROM compared ORDER BY similarity DESC, row").to_arrow_reader(_BATCH_ROWS)
            for batch in batches:
                if not selection.add({name: numpy_of(batch.column(name)) for name in _COLUMNS}):
                    break
            batches.close()
    selected = selection.selected()
    return RankedRows(
        **selected,
        table=candidates.fetch(selected["row"]),
        read=comparison.read,
        candidates=comparison.compared,
        left_out={reason: count for reason, count in comparison.left_out.items() if count},
    )


class _Comparison:
    """Computes the similarity of every row of a table as it is read, and counts the rows that are left out."""

    def __init__(self, index: Index, query: NDArray[np.float32], candidates: Candidates) -> None:
        self._index, self._query, self._candidates = index, query, candidates
        self.read, self.compared, self.left_out = 0, 0, Counter[str]()
        self._error: BaseException | None = None

    def batches(self, schema: "pa.Schema") -> Iterator["pa.RecordBatch"]:
        """Yield the rows that the atlas has a cell for, with their similarity."""
        import pyarrow as pa

        try:
            for batch in self._candidates.batches(self._index.res):
                locations = batch.locations
                rows = self._index.rows_of(locations.cell)
                stored = rows >= 0
                similarity = self._index.engine.similarity_of(self._query, rows[stored])
                self.read += batch.read
                self.compared += int(stored.sum())
                self.left_out.update(locations.left_out)
                self.left_out["not in the atlas"] += int((~stored).sum())
                row, cell, lon, lat = (
                    values[stored] for values in (batch.row, locations.cell, locations.lon, locations.lat)
                )
                columns = [pa.array(column) for column in (row, cell, lon, lat, similarity)]
                yield pa.record_batch(columns, schema=schema)
        except BaseException as error:  # DuckDB, which reads these batches, would wrap it
            self._error = error
            raise

    @contextmanager
    def original_errors(self) -> Iterator[None]:
        """Raise an error of :meth:`batches` as it was, instead of DuckDB's error about it."""
        try:
            yield
        except BaseException:
            if self._error is not None:
                raise self._error from None
            raise
