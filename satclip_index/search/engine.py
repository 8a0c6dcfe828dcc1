"""Exact search: the most similar rows under geographic filters."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .tree import Tree
from .vectors import Vectors

Ranges = NDArray[np.int64]

_SCAN_SHARE = 0.2  # of all rows: comparing more through a queue is slower than comparing all rows without one
_SCAN_LEAST = 200_000
_ROUNDING = 1e-7  # above the error of a similarity rounded to float32 (6e-8) and of its node's bound (2e-8)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows a search may return.

    Attributes
    ----------
    land_only : bool
        Only rows on land.
    away : (d, 4) float64 or None
        Only rows outside these disks on the sphere: unit vector of the center, and radius in radians.
    ranges : (m, 2) int64 or None
        Only rows in these sorted disjoint ranges; None for all.
    apart_rad : float
        Minimum distance between two rows, chosen greedily; 0 for none.
    least : float
        Minimum similarity.
    """

    land_only: bool = False
    away: NDArray[np.float64] | None = None
    ranges: Ranges | None = None
    apart_rad: float = 0.0
    least: float = -math.inf


@dataclass(frozen=True, slots=True)
class Hits:
    """The rows that a search found, most similar first, and its cost.

    Attributes
    ----------
    rows : (n,) int64
    similarity : (n,) float32
    compared : int
        Number of rows compared with the query.
    opened : int
        Number of tree nodes opened.
    scanned : bool
        Whether all rows were compared, because the tree excluded too few of them.
    """

    rows: NDArray[np.int64]
    similarity: NDArray[np.float32]
    compared: int
    opened: int
    scanned: bool


class Engine:
    """Searches one resolution: a tree over vectors.

    Parameters
    ----------
    tree : Tree
    vectors : Vectors
        Row i of the tree is vector i.
    """

    def __init__(self, tree: Tree, vectors: Vectors) -> None:
        self._tree, self._vectors = tree, vectors
        nodes = tree.nodes
        self._nodes = (
            nodes.rows,
            nodes.children,
            vectors.first_code(nodes.rows[:, 0]),
            nodes.centroid.view(np.uint16).reshape(-1),
            nodes.scale,
            nodes.radius,
            nodes.point,
            nodes.reach,
            nodes.land,
            int(tree.levels[1]),
            tree.norm_slack + _ROUNDING,
        )

    def top(self, query: NDArray[np.float32], k: int, where: Filter) -> Hits:
        """Return the ``k`` most similar rows that a filter allows: those of brute force, ties by row."""
        from . import _search_kernels

        rows, query = self._tree.rows, query.astype(np.float64)
        k = min(k, rows.cell.size)
        ranges, away = _shapes_of(where)
        if where.ranges is not None and not ranges.size:  # no row is allowed
            return Hits(np.empty(0, np.int64), np.empty(0, np.float32), 0, 0, False)
        points, rules = (rows.point, rows.land), (where.land_only, ranges, where.apart_rad, where.least)
        n_disks, room = away.shape[1], np.zeros((5, k if where.apart_rad > 0 else 0))
        _, waiting, found, similarity, _, compared, opened = _search_kernels.advance(
            _search_kernels.new_queue(),
            -1,
            k,
            self._compare_at_most(),
            query,
            float(np.linalg.norm(query)) or 1.0,
            self._vectors.codes,
            self._nodes,
            points,
            rules,
            np.hstack([away, room]),
            n_disks,
        )
        if found.size == k or waiting <= 0:
            return Hits(found, similarity, compared, opened, False)
        # Too many rows are similar: compare all, and select in their order.
        every = self.scan(query)
        order = np.lexsort((np.arange(every.size), -every))
        found, similarity = _search_kernels.pick(order, every, k, points, rules, np.hstack([away, room]), n_disks)
        return Hits(found, similarity, every.size, 0, True)

    def scan(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the similarity of every row, (n,) float32."""
        from . import _search_kernels

        query = query.astype(np.float64)
        similarity: NDArray[np.float32] = _search_kernels.scan(
            self._vectors.codes, self._vectors.start, self._vectors.first, query.size, query
        )
        return similarity

    def nearest(
        self,
        queries: NDArray[np.float32],
        group_start: NDArray[np.int64],
        k: int,
        where: Filter,
        *,
        points: NDArray[np.float64] | None = None,
        away_rad: float = 0.0,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the ``k`` most similar rows of each of many queries, as :meth:`top` would; other threads may run.

        Parameters
        ----------
        queries : (m, dim) float32
            Unit vectors, sorted by group.
        group_start : (g + 1,) int64
            The first query of each group, and m. A group is searched at once, the faster the more similar its queries.
        k : int
        where : Filter
            Only ``land_only`` and ``ranges`` may be set.
        points : (m, 3) float64, optional
            The point of each query, a unit vector.
        away_rad : float
            Minimum distance between a row's center and the point of the query, in radians.

        Returns
        -------
        rows : (m, k) int64
            -1 where fewer qualify.
        similarity : (m, k) float32
            NaN there.
        """
        from . import _search_kernels

        assert where.away is None
        assert where.apart_rad == 0
        assert where.least == -math.inf
        ranges, _ = _shapes_of(where)
        rows = np.full((queries.shape[0], k), -1, np.int64)
        similarity = np.full(rows.shape, -np.inf, np.float32)
        if where.ranges is None or ranges.size:
            done = _search_kernels.nearest(
                queries.astype(np.float64),
                group_start,
                np.zeros((queries.shape[0], 3)) if points is None else points,
                away_rad,
                self._compare_at_most(),
                self._vectors.codes,
                self._nodes,
                (self._tree.rows.point, self._tree.rows.land),
                (where.land_only, ranges),
                (rows, similarity),
            )
            for group in np.flatnonzero(~done):  # too many rows are similar
                for i in range(group_start[group], group_start[group + 1]):
                    away = np.append(points[i], away_rad)[None] if points is not None and away_rad > 0 else None
                    hits = self.top(queries[i], k, replace(where, away=away))
                    rows[i], similarity[i] = -1, -np.inf
                    rows[i, : hits.rows.size], similarity[i, : hits.rows.size] = hits.rows, hits.similarity
        similarity[rows < 0] = np.nan
        return rows, similarity

    def _compare_at_most(self) -> int:
        return max(_SCAN_LEAST, int(_SCAN_SHARE * self._tree.rows.cell.size))

    def similarity_of(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the similarity of some rows, (n,) float32."""
        from . import _search_kernels

        first = self._vectors.first_code(rows)
        similarity: NDArray[np.float32] = _search_kernels.dots(self._vectors.codes, first, query.astype(np.float64))
        return similarity


def _shapes_of(where: Filter) -> tuple[Ranges, NDArray[np.float64]]:
    """Return the ranges and disks of a filter as the kernel takes them."""
    ranges = np.empty((0, 2), np.int64) if where.ranges is None else where.ranges
    return ranges, np.empty((5, 0)) if where.away is None else _columns(where.away)


def _columns(disks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return disks as columns of (x, y, z, radius, chord of the radius)."""
    return np.ascontiguousarray(np.vstack([disks.T, 2 * np.sin(np.minimum(disks[:, 3], np.pi) / 2)]))
