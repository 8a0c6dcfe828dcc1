"""How the rows of an answer differ from the example, column by column of a user's table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..database import numpy_of
from ..errors import TableError
from ..geo import sphere
from .candidates import Candidates, Places

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = "_sd"


@dataclass(frozen=True, slots=True)
class Differences:
    """What :func:`differences` gives.

    Attributes
    ----------
    table : pyarrow.Table
        For every column of numbers one of float64, under its name with ``_sd`` behind it: the result's value less the
        example's, in standard deviations. Null where a value is missing, or the column is the same in all rows.
    row : (m,) int64
        The row of the table nearest to each example, from 0, whose values are taken for the example's.
    distance_km : (m,) float64
        How far away that row is.
    """

    table: "pa.Table"
    row: NDArray[np.int64]
    distance_km: NDArray[np.float64]


def differences(candidates: Candidates, rows: "pa.Table", examples: Sequence[sphere.PointSet]) -> Differences:
    """Return how rows of a table differ from the example.

    Parameters
    ----------
    candidates : Candidates
        The table.
    rows : pyarrow.Table
        All columns of some of its rows, as :meth:`Candidates.fetch` gives them.
    examples : sequence of PointSet
        Where each example is; at least one. Of several, the mean is what rows are compared with.

    Raises
    ------
    TableError
        If no row of the table is anywhere on Earth.

    Notes
    -----
    One pass in bounded memory, over all rows that are somewhere on Earth, whatever the condition for candidates: the
    example may well be one of those that it leaves out. The standard deviation is that of all of them, not of a sample;
    batches are merged as in Chan, Golub and LeVeque (1979).
    """
    import pyarrow as pa

    names = candidates.numbers()
    spread, nearest = _Spread(len(names)), [_Nearest(len(names)) for _ in examples]
    for places in candidates.places(columns=names, filtered=False):
        if places.row.size:
            spread.add(places.values)
            for found, points in zip(nearest, examples, strict=True):
                found.add(places, points)
    if min(found.row for found in nearest) < 0:
        raise TableError("No row of the table is a place on Earth; there is nothing to compare with.")
    at_example = _mean(np.stack([found.values for found in nearest]))
    deviation = spread.deviation()
    columns = {}
    for i, name in enumerate(names):
        values = numpy_of(rows[name].cast("double", safe=False).fill_null(np.nan).combine_chunks())
        difference = (values - at_example[i]) / deviation[i]
        columns[name + SUFFIX] = pa.array(difference, mask=~np.isfinite(difference))
    return Differences(
        pa.table(columns), np.array([found.row for found in nearest]), np.array([found.km for found in nearest])
    )


class _Spread:
    """Count, mean, sum of squares about it, least and greatest of each column; what is not finite is left out."""

    def __init__(self, columns: int) -> None:
        self._count, self._mean, self._squares = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        self._least, self._greatest = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, values: NDArray[np.float64]) -> None:
        there = np.isfinite(values)
        count = there.sum(axis=0)
        mean = np.nan_to_num(_mean(values))
        squares = np.square(values - mean, where=there, out=np.zeros(values.shape)).sum(axis=0)
        total = np.maximum(self._count + count, 1)
        step = mean - self._mean
        self._squares += squares + step**2 * self._count * count / total
        self._mean += step * count / total
        self._count += count
        self._least = np.minimum(self._least, np.where(there, values, np.inf).min(axis=0))
        self._greatest = np.maximum(self._greatest, np.where(there, values, -np.inf).max(axis=0))

    def deviation(self) -> NDArray[np.float64]:
        """Return the standard deviation of each column; NaN where it is constant or empty."""
        deviation = np.sqrt(self._squares / np.maximum(self._count, 1))
        return np.where(self._least < self._greatest, deviation, np.nan)


class _Nearest:
    """The row nearest to an example, its distance and its values; of several the first."""

    def __init__(self, columns: int) -> None:
        self.row, self.km, self.values = -1, np.inf, np.full(columns, np.nan)

    def add(self, places: Places, example: sphere.PointSet) -> None:
        distance_km = example.distance_km(places.located.lon, places.located.lat)
        at = int(distance_km.argmin())
        if distance_km[at] < self.km:
            self.row, self.km, self.values = int(places.row[at]), float(distance_km[at]), places.values[at]


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each column over the rows where it is finite; NaN where it is nowhere."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
