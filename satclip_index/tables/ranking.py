"""The rows of a user's table, most similar first, under the rules of a search."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..database import numpy_of, query_errors
from ..geo import grid, sphere
from ..search.greedy_selection import Allowed, Walk
from ..search.index import Index
from .candidates import Candidates

if TYPE_CHECKING:
    import pyarrow as pa

_WALK_ROWS = 16_384
_COLUMNS = {"row": np.int64, "cell": np.uint64, "lon": np.float64, "lat": np.float64, "similarity": np.float32}


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows of a table, most similar first; ties in the order of the file.

    Attributes
    ----------
    row : (n,) int64
        Position in the file, from 0.
    cell : (n,) uint64
        The atlas's cell that the row counts by.
    lon, lat : (n,) float64
        Degrees: the row's own point, or the centre of the cell that it names.
    similarity : (n,) float32
        Inner product of the cell's stored vector with the query.
    table : pyarrow.Table
        All columns of these rows, under their own names.
    read : int
        Rows that fulfil the condition.
    candidates : int
        Those of them that the atlas has a cell for.
    left_out : dict of str to int
        Why the others have none, and how many.
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
    *,
    k: int | None,
    examples: sphere.PointSet,
    exclude_within_km: float = 0.0,
    apart_km: float = 0.0,
    allowed: Allowed | None = None,
    min_similarity: float | None = None,
) -> Ranked:
    """Return the rows of a table that are most like a query, in memory that does not grow with the table.

    Parameters
    ----------
    index : Index
        The atlas, at the resolution at which rows are compared.
    query : (dim,) float32
        What to be like.
    candidates : Candidates
        The table. Its rows count wherever they are: on land or at sea.
    k : int or None
        How many rows; None for all that qualify.
    examples : PointSet
        Where the examples are.
    exclude_within_km : float
        No row is nearer than this to any example.
    apart_km : float
        No two rows are nearer than this to each other: taken greedily, the most similar first.
    allowed : function, optional
        Of lon and lat, (n,) float64: whether each may be an answer, (n,) bool.
    min_similarity : float, optional
        No row is less similar.

    Returns
    -------
    Ranked
        Fewer than k where no more rows qualify.

    Raises
    ------
    QueryError
        If DuckDB fails at the table's condition.

    Notes
    -----
    One pass over the table gives every row its similarity; DuckDB sorts these out of core; and the order is read
    only as far as it is needed.
    """
    import pyarrow as pa

    compared = _Compared(index, query, candidates)
    schema = pa.schema([(name, pa.from_numpy_dtype(dtype)) for name, dtype in _COLUMNS.items()])
    walk = Walk(sys.maxsize if k is None else k, examples, exclude_within_km, apart_km, allowed, min_similarity)
    walk.take({name: np.empty(0, dtype) for name, dtype in _COLUMNS.items()})
    with candidates.cursor() as connection:
        connection.register("compared", pa.RecordBatchReader.from_batches(schema, compared.batches(schema)))
        with compared.failures(), query_errors():
            ordered = connection.sql("FROM compared ORDER BY similarity DESC, row").to_arrow_reader(_WALK_ROWS)
            for batch in ordered:
                if not walk.take({name: numpy_of(batch.column(name)) for name in _COLUMNS}):
                    break
            ordered.close()
    found = walk.taken()
    return Ranked(
        **found,
        table=candidates.fetch(found["row"]),
        read=compared.read,
        candidates=compared.kept,
        left_out={reason: count for reason, count in compared.left_out.items() if count},
    )


class _Compared:
    """Gives every row of a table its similarity, as it is read; counts what is left out."""

    def __init__(self, index: Index, query: NDArray[np.float32], candidates: Candidates) -> None:
        self._index, self._query, self._candidates = index, query, candidates
        self.read, self.kept, self.left_out = 0, 0, Counter[str]()
        self._failure: BaseException | None = None

    def batches(self, schema: "pa.Schema") -> Iterator["pa.RecordBatch"]:
        """Yield the rows that the atlas has a cell for, and their similarity."""
        import pyarrow as pa

        try:
            for places in self._candidates.places(self._index.res):
                found = places.located
                rows = self._index.rows_of(found.cell)
                held = rows >= 0
                similarity = self._index.engine.similarity_of(self._query, rows[held])
                self.read += places.read
                self.kept += int(held.sum())
                self.left_out.update(found.left_out)
                self.left_out["not in the atlas"] += int((~held).sum())
                columns = (places.row[held], found.cell[held], found.lon[held], found.lat[held], similarity)
                yield pa.record_batch([pa.array(column) for column in columns], schema=schema)
        except BaseException as error:  # DuckDB, which reads this, would tell of it in its own words
            self._failure = error
            raise

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Raise what went wrong while the rows were read, instead of what DuckDB makes of it."""
        try:
            yield
        except BaseException:
            if self._failure is not None:
                raise self._failure from None
            raise
