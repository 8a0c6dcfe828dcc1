"""Exact search by the H3 hierarchy: a ball around every ancestor's vectors, and the triangle inequality."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import CorruptAtlasError, OutputError
from ..grid import Cells, ancestors
from .vectors import Vectors

Keep = Callable[[NDArray[np.int64]], NDArray[np.bool_]]

_MARGIN_RAD = 1e-6  # far above the float32 rounding of a radius, far below any that matters
_DOT_ERROR = 1e-6  # bounds the error of a float32 inner product of 256 terms of unit vectors


@dataclass(frozen=True, slots=True)
class Level:
    """The ancestors of one resolution that have rows, in order.

    ``start`` is (n + 1,) int64, the first row of each and the number of rows; ``centroid`` (n, dim) float32, unit;
    ``radius`` (n,) float32, radians: no row's vector is further from the centroid.
    """

    start: NDArray[np.int64]
    centroid: NDArray[np.float32]
    radius: NDArray[np.float32]


def list_res_of(res: int) -> int:
    """Return the resolution of the ancestors that are inverted lists and leaves: two up, of at most 49 rows."""
    return max(0, res - 2)


def make_level(cells: Cells, vectors: NDArray[np.float32], res: int) -> Level:
    """Return the ancestors of a resolution over some rows.

    Parameters
    ----------
    cells : (n,) uint64
        Ascending, n at least 1.
    vectors : (n, dim) float32
        What is stored of each: close to unit length.
    res : int
        Resolution of the ancestors.
    """
    parents = ancestors(cells, res)
    start = np.concatenate([[0], np.flatnonzero(np.diff(parents.astype(np.int64))) + 1, [cells.size]])
    sizes = np.diff(start)
    sums = np.add.reduceat(vectors, start[:-1], axis=0, dtype=np.float64)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    # Where vectors cancel out, any unit centroid is as good: the radius bounds it.
    sums = np.where(length > 1e-9, sums, vectors[start[:-1]])
    centroid = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    dots = np.einsum("ij,ij->i", vectors, np.repeat(centroid, sizes, axis=0), dtype=np.float64)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    lengths *= np.repeat(np.linalg.norm(centroid.astype(np.float64), axis=1), sizes)
    angles = np.arccos(np.clip(dots / lengths, -1.0, 1.0))
    radius = np.maximum.reduceat(angles, start[:-1]) + _MARGIN_RAD
    return Level(start.astype(np.int64), centroid, radius.astype(np.float32))


def join_levels(parts: list[Level]) -> Level:
    """Return one level from the same level of consecutive shards."""
    rows = np.concatenate([[0], np.cumsum([part.start[-1] for part in parts])])
    start = [part.start[:-1] + first for part, first in zip(parts, rows[:-1], strict=True)]
    return Level(
        np.concatenate([*start, rows[-1:]]).astype(np.int64),
        np.concatenate([part.centroid for part in parts]),
        np.concatenate([part.radius for part in parts]),
    )


def write_levels(path: Path, levels: list[Level], norm_slack: float) -> None:
    """Write ``tree.safetensors``; ``norm_slack`` is the most that a stored vector's length differs from 1."""
    tensors: dict[str, NDArray[Any]] = {"norm_slack": np.asarray([norm_slack], dtype=np.float64)}
    for res, level in enumerate(levels):
        tensors |= {f"{res}.start": level.start, f"{res}.centroid": level.centroid, f"{res}.radius": level.radius}
    partial = path.with_name(f"{path.name}.partial")
    try:
        save_file(tensors, partial)
    except SafetensorError as error:
        raise OutputError(f"{path} could not be written: {error}.") from None
    partial.replace(path)


def read_levels(path: Path, list_res: int) -> tuple[list[Level], float]:
    """Return the levels of a tree, coarsest first, and its norm slack."""
    try:
        with safe_open(path, framework="np") as file:
            levels = [
                Level(*(file.get_tensor(f"{res}.{part}") for part in ("start", "centroid", "radius")))
                for res in range(list_res + 1)
            ]
            return levels, float(file.get_tensor("norm_slack")[0])
    except (SafetensorError, OSError, KeyError) as error:
        raise CorruptAtlasError(
            f"{path} cannot be read: {' '.join(str(error).split())[:120]}. Build the atlas again."
        ) from None


class Tree:
    """The balls of every level over the stored vectors.

    Parameters
    ----------
    levels : list of Level
        Coarsest first; the last one's nodes are the lists of ``vectors``.
    norm_slack : float
        The most that a stored vector's length differs from 1.
    vectors : Vectors
        What is searched.
    """

    def __init__(self, levels: list[Level], norm_slack: float, vectors: Vectors) -> None:
        self._levels, self._slack, self._vectors = levels, norm_slack, vectors

    def ranked(self, query: NDArray[np.float32], keep: Keep) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield the rows that ``keep`` keeps, most similar first, as far as the caller reads.

        Parameters
        ----------
        query : (dim,) float32
            What to be similar to.
        keep : function of (n,) int64 rows
            Returns (n,) bool: the rows that may be answers.

        Yields
        ------
        rows : (n,) int64
        similarity : (n,) float32
            Descending, ties by row, within a batch and from one batch to the next: what brute force gives.

        Notes
        -----
        Best first (Hjaltason and Samet 1999): a node's rows are at most as similar as cos(max(0, angle to its centroid
        - its radius)), so once the best open node is below a row in hand, that row is next.
        """
        bounds, level_of, node_of = self._open(query, 0, np.arange(self._levels[0].radius.size))
        held_rows, held = np.empty(0, np.int64), np.empty(0, np.float32)
        width = 32
        while node_of.size or held.size:
            if node_of.size:
                best = np.argsort(-bounds, kind="stable")[:width]
                chosen_level, chosen = level_of[best], node_of[best]
                rest = np.ones(node_of.size, dtype=bool)
                rest[best] = False
                bounds, level_of, node_of = bounds[rest], level_of[rest], node_of[rest]
                leaves = chosen[chosen_level == len(self._levels) - 1]
                if leaves.size:
                    rows, similarity = self._similarity(query, np.sort(leaves), keep)
                    held_rows, held = np.concatenate([held_rows, rows]), np.concatenate([held, similarity])
                for res in np.unique(chosen_level[chosen_level < len(self._levels) - 1]):
                    opened = self._open(query, int(res) + 1, self._children(int(res), chosen[chosen_level == res]))
                    bounds, level_of, node_of = (
                        np.concatenate(pair) for pair in zip((bounds, level_of, node_of), opened, strict=True)
                    )
            limit = bounds.max() if bounds.size else -np.inf
            ready = held > limit
            if ready.any():
                order = np.lexsort((held_rows[ready], -held[ready]))
                yield held_rows[ready][order], held[ready][order]
                held_rows, held = held_rows[~ready], held[~ready]
            width = min(2 * width, 4096)

    def _open(
        self, query: NDArray[np.float32], res: int, nodes: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the bound, the level and the number of some nodes of one level."""
        level = self._levels[res]
        length = float(np.linalg.norm(query.astype(np.float64))) or 1.0
        dots = (level.centroid[nodes] @ query).astype(np.float64) / length + _DOT_ERROR
        angle = np.arccos(np.clip(dots, -1.0, 1.0)) - level.radius[nodes]
        bounds = length * (np.cos(np.maximum(angle, 0.0)) + self._slack + _DOT_ERROR)
        return bounds, np.full(nodes.size, res), nodes

    def _children(self, res: int, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the nodes one level down."""
        parent, child = self._levels[res].start, self._levels[res + 1].start
        first, last = np.searchsorted(child, parent[nodes]), np.searchsorted(child, parent[nodes + 1])
        return np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])

    def _similarity(
        self, query: NDArray[np.float32], leaves: NDArray[np.int64], keep: Keep
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the kept rows of some leaves and their similarity."""
        rows, vectors = self._vectors.of_lists(leaves)
        kept = keep(rows)
        return rows[kept], similarities(vectors[kept], query)


def similarities(vectors: NDArray[np.floating], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inner product of stored vectors with a query.

    Parameters
    ----------
    vectors : (n, dim) float16 or float32
        As stored.
    query : (dim,) float32

    Returns
    -------
    (n,) float32
        Summed in float64, where the products are exact: the order of summation, and so the batch, changes nothing.
    """
    product: NDArray[np.float64] = vectors.astype(np.float64) @ query.astype(np.float64)
    return product.astype(np.float32)
