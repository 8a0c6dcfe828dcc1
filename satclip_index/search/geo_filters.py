"""Geographic filters as the engine takes them: disks on the sphere, and ranges of rows."""

import numpy as np
from numpy.typing import NDArray

from ..geo import grid, sphere
from ..geo.areas import FarFrom, Region
from .engine import Ranges
from .tree import Tree

MANY_POINTS = 32
"""Up to this many points become disks, which are tested one by one; more become ranges of rows."""


def disks(lon: NDArray[np.float64], lat: NDArray[np.float64], radius_km: float) -> NDArray[np.float64]:
    """Return a disk around each point, (n, 4) float64: unit vector and radius in radians; none if the radius is 0."""
    if radius_km <= 0:
        return np.empty((0, 4))
    radius_rad = np.full((lon.size, 1), radius_km / sphere.EARTH_RADIUS_KM)
    return np.hstack([sphere.unit_vectors(lon, lat), radius_rad])


def away_from(tree: Tree, points: sphere.PointSet, radius_km: float) -> Ranges:
    """Return the rows at least this far from every one of many points, as ranges."""
    return rows_in(tree, FarFrom(points, radius_km))


def rows_in(tree: Tree, region: Region) -> Ranges:
    """Return the rows whose center is in a region, as ranges: (m, 2) int64, sorted, disjoint, with gaps between them.

    The tree is descended from the top, past nodes that are entirely inside or outside; only the rows of the finest
    nodes that are neither are tested one by one.
    """
    nodes, ranges = tree.nodes, []
    open_nodes = np.arange(tree.levels[1])
    while True:
        inside, outside = region.holds_caps(*_lon_lat(nodes.point[open_nodes]), nodes.reach[open_nodes])
        ranges.append(nodes.rows[open_nodes[inside]])
        mixed = open_nodes[~(inside | outside)]
        open_nodes = _members(nodes.children[mixed])
        if not open_nodes.size:  # no nodes are mixed, or they are the finest
            break
    rows = _members(nodes.rows[mixed])
    rows = rows[region.holds(*grid.cell_centers(tree.rows.cell[rows]))]
    return union(*ranges, np.stack([rows, rows + 1], axis=1))


def ranges_of(mask: NDArray[np.bool_]) -> Ranges:
    """Return the runs of true in a mask over rows, (m, 2) int64: sorted and disjoint."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def union(*parts: Ranges) -> Ranges:
    """Return the rows in any of the parts, sorted and disjoint; the ranges of a part may overlap, in any order."""
    return _covered(np.concatenate(parts), 1)


def intersection(*parts: Ranges) -> Ranges:
    """Return the rows in all of the parts, sorted and disjoint, as each part must be."""
    return _covered(np.concatenate(parts), len(parts))


def complement(ranges: Ranges, n_rows: int) -> Ranges:
    """Return the rows of ``n_rows`` that are in none of some sorted and disjoint ranges."""
    gaps = np.concatenate([[0], ranges.ravel(), [n_rows]]).reshape(-1, 2)
    return gaps[gaps[:, 0] < gaps[:, 1]]


def _covered(ranges: Ranges, least: int) -> Ranges:
    """Return the rows that are in at least this many of some ranges."""
    edges, step = np.unique(ranges, return_inverse=True)
    depth = np.cumsum(np.bincount(step.ravel(), weights=np.tile([1, -1], ranges.shape[0]), minlength=edges.size))
    return edges[ranges_of(depth >= least)]


def _members(ranges: Ranges) -> NDArray[np.int64]:
    """Return every number in some ranges, one range after the other."""
    length = ranges[:, 1] - ranges[:, 0]
    return np.repeat(ranges[:, 1] - np.cumsum(length), length) + np.arange(length.sum())


def _lon_lat(point: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors, (n, 3), as degrees."""
    x, y, z = point.T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
