"""The greedy choice of points in an order: away from the examples, and apart from one another."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geo import sphere

Columns = dict[str, NDArray[Any]]
Allowed = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]

_CHUNK_ROWS = 512  # whose distances to one another are computed at once


class Walk:
    """Takes points in the order in which they come, so long as the rules let it.

    Parameters
    ----------
    k : int
        How many to take.
    examples : PointSet
        Where the examples are.
    exclude_within_km : float
        None is taken nearer than this to an example.
    apart_km : float
        None is taken nearer than this to one taken before.
    allowed : function or None
        Of lon and lat, (n,) float64: whether each may be taken.
    min_similarity : float or None
        None of a lower similarity is taken.
    """

    def __init__(
        self,
        k: int,
        examples: sphere.PointSet,
        exclude_within_km: float,
        apart_km: float,
        allowed: Allowed | None,
        min_similarity: float | None,
    ) -> None:
        self._k, self._examples, self._exclude_within_km, self._apart_km = k, examples, exclude_within_km, apart_km
        self._allowed, self._min_similarity = allowed, min_similarity
        self._taken: list[Columns] = []
        self._size = 0
        self._points: sphere.PointSet | None = None

    def take(self, rows: Columns) -> bool:
        """Take what can be taken of the next rows; return whether to go on.

        Parameters
        ----------
        rows : dict of (n,) array
            ``lon, lat``, ``similarity``, not ascending from call to call, and whatever else belongs to a row.
        """
        if not self._taken:  # so that there are columns even if there are no rows
            self._taken.append({name: values[:0] for name, values in rows.items()})
        read = rows["lon"].size
        if self._min_similarity is not None:
            rows = _of(rows, rows["similarity"] >= self._min_similarity)
        last = rows["lon"].size < read
        if self._exclude_within_km > 0:
            rows = _of(rows, self._examples.distance_km(rows["lon"], rows["lat"]) >= self._exclude_within_km)
        if self._allowed is not None:
            rows = _of(rows, self._allowed(rows["lon"], rows["lat"]))
        if self._apart_km > 0:
            rows = self._away(rows)
            for first in range(0, rows["lon"].size, _CHUNK_ROWS):
                if self._size >= self._k:
                    break
                chunk = self._away({name: values[first : first + _CHUNK_ROWS] for name, values in rows.items()})
                self._add(_of(chunk, self._apart(chunk)))
        else:
            self._add(rows)
        return not last and self._size < self._k

    def taken(self) -> Columns:
        """Return the rows that were taken, at most k."""
        return {name: np.concatenate([part[name] for part in self._taken])[: self._k] for name in self._taken[0]}

    def _add(self, rows: Columns) -> None:
        if rows["lon"].size:
            self._taken.append(rows)
            self._size += rows["lon"].size
            self._points = None

    def _away(self, rows: Columns) -> Columns:
        """Leave out what is too near to a row that was taken."""
        if not self._size or not rows["lon"].size:
            return rows
        if self._points is None:
            taken = self.taken()
            self._points = sphere.PointSet(taken["lon"], taken["lat"])
        return _of(rows, self._points.distance_km(rows["lon"], rows["lat"]) >= self._apart_km)

    def _apart(self, rows: Columns) -> NDArray[np.bool_]:
        """Return which of a few rows to take, the first ones first."""
        here = sphere.unit_vectors(rows["lon"], rows["lat"])
        near = sphere.chord_km(np.linalg.norm(here[:, None] - here[None], axis=2)) < self._apart_km
        blocked, chosen = np.zeros(near.shape[0], bool), np.zeros(near.shape[0], bool)
        for i in range(blocked.size):
            if not blocked[i]:
                chosen[i] = True
                blocked |= near[i]
        return chosen


def _of(rows: Columns, kept: NDArray[np.bool_]) -> Columns:
    return {name: values[kept] for name, values in rows.items()}
