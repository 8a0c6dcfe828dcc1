"""Exact search: the most similar rows that geography lets through, best first."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tree import Tree
from .vectors import Vectors

Ranges = NDArray[np.int64]

_QUEUE = 4096
_SCAN_SHARE = 0.2  # of all rows: comparing more than that through a queue costs more than comparing all without one
_SCAN_LEAST = 200_000
_ROUNDING = 1e-7  # a similarity rounded to float32 may be so far above the bound of its node


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
    """

    land_only: bool = False
    away: NDArray[np.float64] | None = None
    ranges: Ranges | None = None
    apart_rad: float = 0.0


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
        from . import kernel

        query = query.astype(np.float64)
        similarity: NDArray[np.float32] = kernel.scan(
            self._vectors.codes, self._vectors.start, self._vectors.first, query.size, query, kernel.HALF
        )
        return similarity

    def _search(self, query: NDArray[np.float32], where: Filter, batch: int) -> Iterator[Found]:
        from . import kernel

        rows, query = self._tree.rows, query.astype(np.float64)
        length = float(np.linalg.norm(query)) or 1.0
        ranges = np.empty((0, 2), np.int64) if where.ranges is None else where.ranges
        if where.ranges is not None and not ranges.size:  # nothing may be an answer
            yield Found(np.empty(0, np.int64), np.empty(0, np.float32), 0, 0, False)
            return
        away = np.empty((0, 4)) if where.away is None else where.away
        disks, n_disks = away, away.shape[0]
        queue = (np.empty(_QUEUE), np.empty(_QUEUE, np.int8), np.empty(_QUEUE, np.int64))
        size, at_most = -1, max(_SCAN_LEAST, int(_SCAN_SHARE * rows.cell.size))
        given = 0
        while True:
            disks = np.concatenate([disks[:n_disks], np.zeros((batch if where.apart_rad > 0 else 0, 4))])
            queue, size, found, similarity, n_disks, compared, opened = kernel.advance(
                queue,
                size,
                batch,
                at_most,
                query,
                length,
                self._vectors.codes,
                kernel.HALF,
                self._nodes,
                (rows.point, rows.land),
                where.land_only,
                ranges,
                disks,
                n_disks,
                where.apart_rad,
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
            disks = np.concatenate([away, np.zeros((wanted if where.apart_rad > 0 else 0, 4))])
            found, similarity = kernel.pick(
                order,
                everything,
                wanted,
                where.land_only,
                rows.land,
                rows.point,
                ranges,
                disks,
                away.shape[0],
                where.apart_rad,
            )
            yield Found(found[given:], similarity[given:], everything.size, 0, True)
            if found.size < wanted:
                return
            given, wanted = found.size, found.size + batch
