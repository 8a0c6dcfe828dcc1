"""The H3 hierarchy as a metric tree: a ball around every ancestor's vectors, and a cap around its place on Earth."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError
from ..geo import grid, sphere
from ..storage.tensor_files import map_tensors

_MARGIN_RAD = 1e-9  # far above the float64 rounding of an angle from a chord
_COSINE_ERROR = 1e-13  # far above that of a cosine of unit vectors summed in float64


@dataclass(frozen=True, slots=True)
class Nodes:
    """Ancestors that have rows, in order of resolution and then of rows: one row of each array a node.

    Attributes
    ----------
    rows : (n, 2) int64
        First row, and the row behind the last.
    children : (n, 2) int64
        First node one resolution finer, and the node behind the last; equal at the finest.
    centroid : (n, dim) float16
        Direction of the sum of its vectors.
    scale : (n,) float64
        One over the length that rounding left the centroid.
    radius : (n,) float64
        Radians: no row's vector is further from the centroid.
    point : (n, 3) float64
        Unit vector of a place amid its rows.
    reach : (n,) float64
        Radians: no row's centre is further from the point.
    land : (n,) uint8
        Whether any row is land.
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
    """What the search knows of every row: cell, (n,) uint64; unit vector of its centre, (n, 3) float64; land."""

    cell: grid.Cells
    point: NDArray[np.float64]
    land: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Tree:
    """The rows of one resolution and the nodes over them.

    ``levels`` is (n_levels + 1,) int64, the first node of each resolution from 0 on; ``norm_slack`` the most that a
    stored vector's length differs from 1.
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
        """Return the tree in a file, mapped into memory; raise CorruptAtlasError if it is not one."""
        tensors = map_tensors(path)
        try:
            rows = Rows(**{item.name: tensors[f"rows.{item.name}"] for item in fields(Rows)})
            nodes = Nodes(**{item.name: tensors[f"nodes.{item.name}"] for item in fields(Nodes)})
            return cls(rows, nodes, tensors["levels"], float(tensors["norm_slack"][0]))
        except KeyError as error:
            raise CorruptAtlasError(f"{path} lacks {error}. Build the atlas again.") from None


def deepest_level(res: int) -> int:
    """Return the resolution of the leaves over rows of a resolution: one up, of at most seven rows."""
    return max(0, res - 1)


def grow(
    res: int,
    cells: grid.Cells,
    vectors: NDArray[np.float32],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    land: NDArray[np.bool_],
) -> tuple[Rows, list[Nodes], float]:
    """Return what a shard adds to the tree of its resolution, as if it were alone.

    Ancestors that it holds in part only are merged with the other parts by :func:`merge_nodes`.

    Parameters
    ----------
    res : int
        Resolution of the cells.
    cells : (n,) uint64
        Ascending.
    vectors : (n, dim) float32
        What is stored of each.
    lon, lat : (n,) float64
        Their centres, degrees.
    land : (n,) bool
        Which are land.

    Returns
    -------
    rows : Rows
    levels : list of Nodes
        The ancestors of each resolution from 0 on; children are counted from the first of the resolution below.
    slack : float
        The most that a vector's length differs from 1.
    """
    from . import tree_kernels

    rows = Rows(cells, sphere.unit_vectors(lon, lat), land.astype(np.uint8))
    length = tree_kernels.lengths(vectors)
    sums, start = vectors, np.arange(cells.size + 1)
    levels: list[Nodes] = []
    for coarser_res in reversed(range(deepest_level(res) + 1)):  # the sum of an ancestor is that of its children
        coarser = run_starts(grid.ancestors(cells, coarser_res))
        below = np.searchsorted(start, coarser)
        sums, start = tree_kernels.sums(sums, below), coarser
        nodes = make_nodes(rows, vectors, length, sums, start)
        if levels:
            nodes.children[:] = np.stack([below[:-1], below[1:]], axis=1)
        levels.insert(0, nodes)
    return rows, levels, float(np.abs(length - 1).max())


def run_starts(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return where each run of equal keys begins, and how many keys there are."""
    return np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [keys.size]])


def make_nodes(
    rows: Rows,
    vectors: NDArray[np.float32],
    length: NDArray[np.float64],
    sums: NDArray[np.float64],
    start: NDArray[np.int64],
) -> Nodes:
    """Return the ancestors of a resolution over some rows, without their children.

    Parameters
    ----------
    rows : Rows
        At least one, ascending by cell.
    vectors : (n, dim) float32
        What is stored of each: close to unit length.
    length : (n,) float64
        Their lengths.
    sums : (m, dim) float64
        The sum of the vectors below each ancestor.
    start : (m + 1,) int64
        The first row of each ancestor, and n.
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

    Its ball and its cap hold those of its parts, and so all rows; they may be larger than :func:`make_nodes` has them.

    Parameters
    ----------
    parts : Nodes
        Rows and children of a run follow each other.
    first : (m,) int64
        The first part of each.
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
    """Return the direction of the sum of each run of points; of the first of a run where they cancel out."""
    sums = np.add.reduceat(points, start[:-1], axis=0)
    cancelled = np.linalg.norm(sums, axis=1) < 1e-6
    sums[cancelled] = points[start[:-1][cancelled]]
    out: NDArray[np.float64] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return out


def _greatest_angle(
    points: NDArray[np.float64], directions: NDArray[np.float64], start: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return, for each run, the greatest angle between its direction and one of its points, rounded outwards.

    From half the chord of unit vectors, which keeps its digits where an arc cosine would not.
    """
    apart = points - np.repeat(directions, np.diff(start), axis=0)
    greatest = np.maximum.reduceat(np.einsum("ij,ij->i", apart, apart), start[:-1])
    angles: NDArray[np.float64] = 2 * np.arcsin(np.minimum(np.sqrt(greatest) / 2, 1.0)) + _MARGIN_RAD
    return angles
