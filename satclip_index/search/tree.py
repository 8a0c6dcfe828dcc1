"""The H3 hierarchy as a metric tree: a ball around the vectors of every ancestor, and a cap around its cells."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError
from ..geo import grid, sphere
from ..storage.tensor_files import map_tensors

_MARGIN_RAD = 1e-9  # far above the float64 error of an angle from a chord
_COSINE_ERROR = 1e-13  # far above the float64 error of the cosine of unit vectors


@dataclass(frozen=True, slots=True)
class Nodes:
    """The ancestors of stored cells, ordered by resolution and then by row; element i of each array is node i.

    Attributes
    ----------
    rows : (n, 2) int64
        First row, and one past the last.
    children : (n, 2) int64
        First node one resolution finer, and one past the last; equal at the finest.
    centroid : (n, dim) float16
        Direction of the sum of the node's vectors.
    scale : (n,) float64
        Reciprocal of the centroid's length after rounding.
    radius : (n,) float64
        Radians; an upper bound of the angle between the centroid and the vector of a row.
    point : (n, 3) float64
        Unit vector of a point in the middle of the rows.
    reach : (n,) float64
        Radians; an upper bound of the distance between that point and the center of a row.
    land : (n,) uint8
        Whether any row is on land.
    """

    rows: NDArray[np.int64]
    children: NDArray[np.int64]
    centroid: NDArray[np.float16]
    scale: NDArray[np.float64]
    radius: NDArray[np.float64]
    point: NDArray[np.float64]
    reach: NDArray[np.float64]
    land: NDArray[np.uint8]

    def __len__(self) -> int:
        return int(self.scale.size)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows: cell, (n,) uint64; unit vector of its center, (n, 3) float64; whether it is on land, (n,) uint8."""

    cell: grid.Cells
    point: NDArray[np.float64]
    land: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Tree:
    """The rows of one resolution and the nodes above them.

    Attributes
    ----------
    rows : Rows
    nodes : Nodes
    levels : (n_levels + 1,) int64
        The first node of each resolution, from 0, and the number of nodes.
    norm_slack : float
        Maximum difference between 1 and the norm of a stored vector.
    """

    rows: Rows
    nodes: Nodes
    levels: NDArray[np.int64]
    norm_slack: float

    def starts(self, res: int) -> NDArray[np.int64]:
        """Return the first row of each ancestor of a resolution, and the number of rows."""
        first, last = self.levels[res], self.levels[res + 1]
        return np.append(self.nodes.rows[first:last, 0], self.nodes.rows[last - 1, 1])

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the tree in a file, mapped into memory, or raise CorruptAtlasError."""
        tensors = map_tensors(path)
        try:
            rows = Rows(**{item.name: tensors[f"rows.{item.name}"] for item in fields(Rows)})
            nodes = Nodes(**{item.name: tensors[f"nodes.{item.name}"] for item in fields(Nodes)})
            return cls(rows, nodes, tensors["levels"], float(tensors["norm_slack"][0]))
        except KeyError as error:
            raise CorruptAtlasError(f"{path} lacks {error}. Build the atlas again.") from None


def deepest_level(res: int) -> int:
    """Return the resolution of the leaves, one coarser than the rows: each has at most seven rows."""
    return max(0, res - 1)


def grow(
    res: int,
    cells: grid.Cells,
    vectors: NDArray[np.float32],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    land: NDArray[np.bool_],
) -> tuple[Rows, list[Nodes], float]:
    """Return the tree of one shard.

    Nodes of ancestors that have cells in several shards are merged by :func:`merge_nodes`.

    Parameters
    ----------
    res : int
        Resolution of the cells.
    cells : (n,) uint64
        Ascending.
    vectors : (n, dim) float32
        Stored vectors.
    lon, lat : (n,) float64
        Centers of the cells, degrees.
    land : (n,) bool
        Whether each cell is on land.

    Returns
    -------
    rows : Rows
    levels : list of Nodes
        The ancestors of each resolution, from 0; ``children`` counts from the first node of the next resolution.
    slack : float
        Maximum difference between 1 and the norm of a vector.
    """
    from . import tree_kernels

    rows = Rows(cells, sphere.unit_vectors(lon, lat), land.astype(np.uint8))
    length = tree_kernels.lengths(vectors)
    sums, start = vectors, np.arange(cells.size + 1)
    levels: list[Nodes] = []
    for coarser_res in reversed(range(deepest_level(res) + 1)):  # the sum of a node is that of its children
        coarser = run_starts(grid.ancestors(cells, coarser_res))
        below = np.searchsorted(start, coarser)
        sums, start = tree_kernels.sums(sums, below), coarser
        nodes = make_nodes(rows, vectors, length, sums, start)
        if levels:
            nodes.children[:] = np.stack([below[:-1], below[1:]], axis=1)
        levels.insert(0, nodes)
    return rows, levels, float(np.abs(length - 1).max())


def run_starts(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the start of each run of equal keys, and the number of keys."""
    return np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [keys.size]])


def make_nodes(
    rows: Rows,
    vectors: NDArray[np.float32],
    length: NDArray[np.float64],
    sums: NDArray[np.float64],
    start: NDArray[np.int64],
) -> Nodes:
    """Return the nodes of one resolution above some rows, without their children.

    Parameters
    ----------
    rows : Rows
        At least one, ascending by cell.
    vectors : (n, dim) float32
        Stored vectors, close to unit length.
    length : (n,) float64
        Their lengths.
    sums : (m, dim) float64
        The sum of the vectors of each node.
    start : (m + 1,) int64
        The first row of each node, and n.
    """
    from . import tree_kernels

    size = tree_kernels.lengths(sums)
    cancelled = size < 1e-6
    if cancelled.any():
        sums, size = sums.copy(), size.copy()
        sums[cancelled] = vectors[start[:-1][cancelled]]
        size[cancelled] = tree_kernels.lengths(sums[cancelled])
    centroid = (sums / size[:, None]).astype(np.float16)
    direction = centroid.astype(np.float64)
    scale = 1 / tree_kernels.lengths(direction)
    cosine = tree_kernels.least_cosines(vectors, length, direction * scale[:, None], start)
    point = _directions(rows.point, start)
    bounds = np.stack([start[:-1], start[1:]], axis=1)
    return Nodes(
        rows=bounds,
        children=np.zeros_like(bounds),
        centroid=centroid,
        scale=scale,
        radius=np.arccos(np.clip(cosine - _COSINE_ERROR, -1.0, 1.0)),
        point=point,
        reach=_greatest_angle(rows.point, point, start),
        land=np.maximum.reduceat(rows.land, start[:-1]),
    )


def merge_nodes(parts: Nodes, first: NDArray[np.int64]) -> Nodes:
    """Return one node for each run of nodes that are parts of the same ancestor.

    Its ball and its cap contain those of its parts, and therefore all rows; they may be larger than with
    :func:`make_nodes`.

    Parameters
    ----------
    parts : Nodes
        Rows and children of a run are adjacent.
    first : (m,) int64
        The first part of each node.
    """
    from . import tree_kernels

    run, size = np.append(first, len(parts)), np.diff(parts.rows, axis=1)[:, 0]
    owner, last = np.repeat(np.arange(first.size), np.diff(run)), run[1:] - 1
    direction = parts.centroid.astype(np.float64) * parts.scale[:, None]
    weighted = np.add.reduceat(direction * size[:, None], first, axis=0)
    length = tree_kernels.lengths(weighted)
    cancelled = length < 1e-6
    weighted[cancelled], length[cancelled] = direction[first[cancelled]], 1.0
    centroid = (weighted / length[:, None]).astype(np.float16)
    scale = 1 / tree_kernels.lengths(centroid.astype(np.float64))
    cosine = np.einsum("ij,ij->i", direction, centroid[owner].astype(np.float64) * scale[owner, None])
    point = _directions(parts.point, run)
    apart = 2 * np.arcsin(np.minimum(np.linalg.norm(parts.point - point[owner], axis=1) / 2, 1.0))
    angle = np.arccos(np.clip(cosine - _COSINE_ERROR, -1.0, 1.0))
    return Nodes(
        rows=np.stack([parts.rows[first, 0], parts.rows[last, 1]], axis=1),
        children=np.stack([parts.children[first, 0], parts.children[last, 1]], axis=1),
        centroid=centroid,
        scale=scale,
        radius=np.minimum(np.maximum.reduceat(angle + parts.radius, first) + _MARGIN_RAD, np.pi),
        point=point,
        reach=np.minimum(np.maximum.reduceat(apart + parts.reach, first) + _MARGIN_RAD, np.pi),
        land=np.maximum.reduceat(parts.land, first),
    )


def _directions(points: NDArray[np.float64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the direction of the sum of each run of points, or the first point if the sum is zero."""
    sums = np.add.reduceat(points, start[:-1], axis=0)
    cancelled = np.linalg.norm(sums, axis=1) < 1e-6
    sums[cancelled] = points[start[:-1][cancelled]]
    out: NDArray[np.float64] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return out


def _greatest_angle(
    points: NDArray[np.float64], directions: NDArray[np.float64], start: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the greatest angle between the direction of each run and one of its points, rounded up.

    It is computed from half the chord, which is more accurate at small angles than the arc cosine.
    """
    apart = points - np.repeat(directions, np.diff(start), axis=0)
    greatest = np.maximum.reduceat(np.einsum("ij,ij->i", apart, apart), start[:-1])
    angles: NDArray[np.float64] = 2 * np.arcsin(np.minimum(np.sqrt(greatest) / 2, 1.0)) + _MARGIN_RAD
    return angles
