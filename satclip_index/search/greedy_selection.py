"""Greedy selection of points in order of similarity: far from the examples, and apart from each other."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geo import sphere
from .search_rules import SearchRules

Columns = dict[str, NDArray[Any]]

_CHUNK_ROWS = 512  # whose distances to one another are computed at once


class GreedySelection:
    """Selects points in the order in which they are added, each one if the rules allow it.

    Parameters
    ----------
    rules : SearchRules
        All of them apply except ``ocean``, which is about cells, and ``min_percentile``.
    examples : PointSet, optional
        The points that ``exclude_within_km`` applies to.
    """

    def __init__(self, rules: SearchRules, examples: sphere.PointSet | None = None) -> None:
        self._rules, self._examples = rules, examples
        self._k = sys.maxsize if rules.k is None else rules.k
        self._parts: list[Columns] = []
        self._size = 0
        self._points: sphere.PointSet | None = None

    def add(self, rows: Columns) -> bool:
        """Select from the next rows, and return whether further rows could be selected.

        Parameters
        ----------
        rows : dict of (n,) array
            ``lon, lat``, with a minimum similarity also ``similarity``, which does not rise from call to call, and any
            other columns.
        """
        if not self._parts:  # keeps the columns if no row is selected
            self._parts.append({name: values[:0] for name, values in rows.items()})
        size, rules = rows["lon"].size, self._rules
        if rules.min_similarity is not None:
            rows = _filter(rows, rows["similarity"] >= rules.min_similarity)
        is_last = rows["lon"].size < size
        if rules.exclude_within_km > 0 and self._examples is not None:
            rows = _filter(rows, self._examples.distance_km(rows["lon"], rows["lat"]) >= rules.exclude_within_km)
        if rules.area:
            rows = _filter(rows, rules.area.contains(rows["lon"], rows["lat"]))
        if rules.apart_km > 0:
            rows = self._drop_near_selected(rows)
            for first in range(0, rows["lon"].size, _CHUNK_ROWS):
                if self._size >= self._k:
                    break
                chunk = {name: values[first : first + _CHUNK_ROWS] for name, values in rows.items()}
                chunk = self._drop_near_selected(chunk)
                self._append(_filter(chunk, self._select_apart(chunk)))
        else:
            self._append(rows)
        return not is_last and self._size < self._k

    def selected(self) -> Columns:
        """Return the selected rows, at most k."""
        return {name: np.concatenate([part[name] for part in self._parts])[: self._k] for name in self._parts[0]}

    def _append(self, rows: Columns) -> None:
        if rows["lon"].size:
            self._parts.append(rows)
            self._size += rows["lon"].size
            self._points = None

    def _drop_near_selected(self, rows: Columns) -> Columns:
        if not self._size or not rows["lon"].size:
            return rows
        if self._points is None:
            selected = self.selected()
            self._points = sphere.PointSet(selected["lon"], selected["lat"])
        return _filter(rows, self._points.distance_km(rows["lon"], rows["lat"]) >= self._rules.apart_km)

    def _select_apart(self, rows: Columns) -> NDArray[np.bool_]:
        """Return which of a few rows are selected, (n,) bool, if only their distances to each other count."""
        vectors = sphere.unit_vectors(rows["lon"], rows["lat"])
        chord = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
        near = sphere.chord_km(chord) < self._rules.apart_km
        blocked, chosen = np.zeros(near.shape[0], bool), np.zeros(near.shape[0], bool)
        for i in range(blocked.size):
            if not blocked[i]:
                chosen[i] = True
                blocked |= near[i]
        return chosen


def _filter(rows: Columns, mask: NDArray[np.bool_]) -> Columns:
    return {name: values[mask] for name, values in rows.items()}
