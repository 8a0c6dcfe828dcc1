"""Exact search: the most similar rows that geography lets through, best first."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .tree import Tree
from .vectors import Vectors

Ranges = NDArray[np.int64]

_SCAN_SHARE = 0.2  # of all rows: comparing more than that through a queue costs more than comparing all without one
_SCAN_LEAST = 200_000
_ROUNDING = 1e-7  # a similarity rounded to float32 (6e-8), and its node's bound (2e-8), may be so far off


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows may be answers.

    Attributes
    ----------
    land_only : bool
        Rows that are not land may not.
    away : (d, 4) float64
        Disks on the sphere that no answer lies inside: unit vector of the centre, and radius in radians.
    ranges : (m, 2) int64 or None
        Rows that may be, as sorted disjoint ranges; None for all.
    apart_rad : float
        Answers are at least so far from each other, taken greedily; 0 for no such rule.
    least : float
        Answers are at least so similar.
    """

    land_only: bool = False
    away: NDArray[np.float64] | None = None
    ranges: Ranges | None = None
    apart_rad: float = 0.0
    least: float = -math.inf


@dataclass(frozen=True, slots=True)
class Found:
    """Rows, (n,) int64, and their similarity, (n,) float32; and what it took.

    ``compared`` counts rows compared with the query, ``opened`` nodes; ``scanned`` says that all rows were compared,
    because the tree could not rule enough of them out.
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
        What is searched; row i of the one is row i of the other.
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

    def top(self, query: NDArray[np.float32], k: int, where: Filter) -> Found:
        """Return the ``k`` most similar rows that a filter lets through: what brute force gives, ties by row."""
        for found in self._search(query, where, min(k, self._tree.rows.cell.size)):
            return found
        raise AssertionError("a search yields at least once")

    def ranked(self, query: NDArray[np.float32], where: Filter, *, batch: int = 64) -> Iterator[Found]:
        """Yield the rows that a filter lets through, most similar first, as far as the caller reads."""
        for found in self._search(query, where, batch):
            if not found.rows.size:
                return
            yield found

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
            Unit vectors, those of a group next to each other.
        group_start : (g + 1,) int64
            The first query of each group, and m. A group is searched at once: the more alike its queries, the better.
        k : int
        where : Filter
            Its ``land_only`` and ``ranges``; it may have nothing else.
        points : (m, 3) float64, optional
            Where each query is: a unit vector.
        away_rad : float
            No row's centre is nearer to its query than this, in radians.

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
            for group in np.flatnonzero(~done):  # too many rows are alike
                for i in range(group_start[group], group_start[group + 1]):
                    away = np.append(points[i], away_rad)[None] if points is not None and away_rad > 0 else None
                    found = self.top(queries[i], k, replace(where, away=away))
                    rows[i], similarity[i] = -1, -np.inf
                    rows[i, : found.rows.size], similarity[i, : found.rows.size] = found.rows, found.similarity
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

    def _search(self, query: NDArray[np.float32], where: Filter, batch: int) -> Iterator[Found]:
        from . import _search_kernels

        rows, query = self._tree.rows, query.astype(np.float64)
        length = float(np.linalg.norm(query)) or 1.0
        ranges, away = _shapes_of(where)
        if where.ranges is not None and not ranges.size:  # nothing may be an answer
            yield Found(np.empty(0, np.int64), np.empty(0, np.float32), 0, 0, False)
            return
        disks, n_disks = away, away.shape[1]
        queue = _search_kernels.new_queue()
        size, at_most = -1, self._compare_at_most()
        given = 0
        while True:
            disks = np.hstack([disks[:, :n_disks], np.zeros((5, batch if where.apart_rad > 0 else 0))])
            queue, size, found, similarity, n_disks, compared, opened = _search_kernels.advance(
                queue,
                size,
                batch,
                at_most,
                query,
                length,
                self._vectors.codes,
                self._nodes,
                (rows.point, rows.land),
                (where.land_only, ranges, where.apart_rad, where.least),
                disks,
                n_disks,
            )
            at_most -= compared
            if found.size < batch and size > 0:
                break
            given += found.size
            yield Found(found, similarity, compared, opened, False)
            if found.size < batch:
                return
        # Too many rows are alike: compare all, and go down the order from the start.
        everything = self.scan(query)
        order = np.lexsort((np.arange(everything.size), -everything))
        wanted = given + batch
        while True:
            disks = np.hstack([away, np.zeros((5, wanted if where.apart_rad > 0 else 0))])
            found, similarity = _search_kernels.pick(
                order,
                everything,
                wanted,
                (rows.point, rows.land),
                (where.land_only, ranges, where.apart_rad, where.least),
                disks,
                away.shape[1],
            )
            yield Found(found[given:], similarity[given:], everything.size, 0, True)
            if found.size < wanted:
                return
            given, wanted = found.size, found.size + batch


def _shapes_of(where: Filter) -> tuple[Ranges, NDArray[np.float64]]:
    """Return the ranges and disks of a filter as the kernel takes them."""
    ranges = np.empty((0, 2), np.int64) if where.ranges is None else where.ranges
    return ranges, np.empty((5, 0)) if where.away is None else _columns(where.away)


def _columns(disks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return disks as columns of (x, y, z, radius, chord of the radius)."""
    return np.ascontiguousarray(np.vstack([disks.T, 2 * np.sin(np.minimum(disks[:, 3], np.pi) / 2)]))
