"""Differences between the resulting rows of a table and the example's row, for each numeric column."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..database import numpy_of
from ..errors import TableError
from ..geo import sphere
from .candidates import CandidateBatch, Candidates

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = "_sd"


@dataclass(frozen=True, slots=True)
class Differences:
    """The result of :func:`find_differences`.

    Attributes
    ----------
    table : pyarrow.Table
        A float64 column ``NAME_sd`` for every numeric column: the result's value minus the example's, in standard
        deviations. Null if a value is missing or the column is constant.
    row : (m,) int64
        The number, from 0, of the row nearest to each example; its values stand for those of the example.
    distance_km : (m,) float64
        Distance of that row from the example.
    """

    table: "pa.Table"
    row: NDArray[np.int64]
    distance_km: NDArray[np.float64]


def find_differences(candidates: Candidates, rows: "pa.Table", examples: Sequence[sphere.PointSet]) -> Differences:
    """Return the differences between rows of a table and the example.

    Parameters
    ----------
    candidates : Candidates
        The table.
    rows : pyarrow.Table
        All columns of some of its rows, from :meth:`Candidates.fetch`.
    examples : sequence of PointSet
        The points of each example; at least one example. Rows are compared with the mean of several.

    Raises
    ------
    TableError
        If no row of the table has a location on Earth.

    Notes
    -----
    One pass in bounded memory over all rows with a location, also those that do not meet the candidates' condition: the
    example may be one of them. The standard deviation is that of the population; batches are merged as in Chan, Golub
    and LeVeque (1979).
    """
    import pyarrow as pa

    names = candidates.numbers()
    spread, nearest = _Spread(len(names)), [_NearestRow(len(names)) for _ in examples]
    for batch in candidates.batches(columns=names, filtered=False):
        if batch.row.size:
            spread.add(batch.values)
            for row, points in zip(nearest, examples, strict=True):
                row.add(batch, points)
    if min(row.row for row in nearest) < 0:
        raise TableError("No row of the table is a place on Earth; there is nothing to compare with.")
    at_example = _mean(np.stack([row.values for row in nearest]))
    deviation = spread.deviation()
    columns = {}
    for i, name in enumerate(names):
        values = numpy_of(rows[name].cast("double", safe=False).fill_null(np.nan).combine_chunks())
        difference = (values - at_example[i]) / deviation[i]
        columns[name + SUFFIX] = pa.array(difference, mask=~np.isfinite(difference))
    return Differences(
        pa.table(columns), np.array([row.row for row in nearest]), np.array([row.distance_km for row in nearest])
    )


class _Spread:
    """Count, mean, sum of squared deviations, minimum and maximum of the finite values of each column."""

    def __init__(self, columns: int) -> None:
        self._count, self._mean, self._squares = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        self._least, self._greatest = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, values: NDArray[np.float64]) -> None:
        finite = np.isfinite(values)
        count = finite.sum(axis=0)
        mean = np.nan_to_num(_mean(values))
        squares = np.square(values - mean, where=finite, out=np.zeros(values.shape)).sum(axis=0)
        total = np.maximum(self._count + count, 1)
        step = mean - self._mean
        self._squares += squares + step**2 * self._count * count / total
        self._mean += step * count / total
        self._count += count
        self._least = np.minimum(self._least, np.where(finite, values, np.inf).min(axis=0))
        self._greatest = np.maximum(self._greatest, np.where(finite, values, -np.inf).max(axis=0))

    def deviation(self) -> NDArray[np.float64]:
        """Return the standard deviation of each column, NaN if it is constant or empty."""
        deviation = np.sqrt(self._squares / np.maximum(self._count, 1))
        return np.where(self._least < self._greatest, deviation, np.nan)


class _NearestRow:
    """The row nearest to an example, the first of several, with its distance and its values."""

    def __init__(self, columns: int) -> None:
        self.row, self.distance_km, self.values = -1, np.inf, np.full(columns, np.nan)

    def add(self, batch: CandidateBatch, example: sphere.PointSet) -> None:
        distance_km = example.distance_km(batch.locations.lon, batch.locations.lat)
        at = int(distance_km.argmin())
        if distance_km[at] < self.distance_km:
            self.row, self.distance_km, self.values = int(batch.row[at]), float(distance_km[at]), batch.values[at]


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the finite values of each column, NaN without any."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    return np.where(count > 0, np.where(finite, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
