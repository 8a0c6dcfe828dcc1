"""Geography turned into what the engine understands: disks on the sphere, and ranges of rows."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..geo import grid, sphere
from ..geo.areas import Area, FarFrom, Region
from .engine import Ranges
from .tree import Tree

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

MANY_POINTS = 32
"""Up to so many points are disks, tested one by one; an area of more is turned into ranges of rows."""


def disks(lon: NDArray[np.float64], lat: NDArray[np.float64], radius_km: float) -> NDArray[np.float64]:
    """Return a disk round each point, (n, 4) float64: a unit vector, and the radius in radians; none if it is 0."""
    if radius_km <= 0:
        return np.empty((0, 4))
    radius_rad = np.full((lon.size, 1), radius_km / sphere.EARTH_RADIUS_KM)
    return np.hstack([sphere.unit_vectors(lon, lat), radius_rad])


def rows_inside(tree: Tree, shape: "BaseGeometry") -> Ranges:
    """Return the rows whose centre a shape covers, as ranges.

    Parameters
    ----------
    tree : Tree
        The rows.
    shape : shapely geometry
        On the plane, lon in [-180, 180], as :func:`~satclip_index.geo.geojson_shapes.read_shape` gives it.

    Returns
    -------
    (m, 2) int64
        Sorted, disjoint, a gap between each; exactly what ``shapely.intersects_xy`` says of every row.
    """
    return rows_in(tree, Area(shape))


def away_from(tree: Tree, points: sphere.PointSet, radius_km: float) -> Ranges:
    """Return the rows, as ranges, at least so far from every one of many points."""
    return rows_in(tree, FarFrom(points, radius_km))


def rows_in(tree: Tree, region: Region) -> Ranges:
    """Return the rows whose centre a region holds, as ranges.

    From the top of the tree down, nodes that are wholly inside or outside are done with; only the rows of the finest
    nodes that are neither are looked at one by one.
    """
    nodes, found = tree.nodes, []
    open_nodes = np.arange(tree.levels[1])
    while True:
        inside, outside = region.holds_caps(*_lon_lat(nodes.point[open_nodes]), nodes.reach[open_nodes])
        found.append(nodes.rows[open_nodes[inside]])
        mixed = open_nodes[~(inside | outside)]
        open_nodes = _members(nodes.children[mixed])
        if not open_nodes.size:  # there are none, or they are the finest
            break
    rows = _members(nodes.rows[mixed])
    rows = rows[region.holds(*grid.cell_centers(tree.rows.cell[rows]))]
    return union(*found, np.stack([rows, rows + 1], axis=1))


def ranges_of(mask: NDArray[np.bool_]) -> Ranges:
    """Return the runs of true in a mask over rows, (m, 2) int64: sorted and disjoint."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)


def union(*parts: Ranges) -> Ranges:
    """Return the rows that any of some ranges hold, sorted and disjoint; a part may be in any order, and overlap."""
    return _held_by(np.concatenate(parts), 1)


def intersection(*parts: Ranges) -> Ranges:
    """Return the rows that all of some ranges hold, sorted and disjoint; each part must be so, too."""
    return _held_by(np.concatenate(parts), len(parts))


def complement(ranges: Ranges, n_rows: int) -> Ranges:
    """Return the rows, of so many, that sorted and disjoint ranges do not hold."""
    gaps = np.concatenate([[0], ranges.ravel(), [n_rows]]).reshape(-1, 2)
    return gaps[gaps[:, 0] < gaps[:, 1]]


def _held_by(ranges: Ranges, least: int) -> Ranges:
    """Return the rows that at least so many of some ranges hold."""
    edges, step = np.unique(ranges, return_inverse=True)
    depth = np.cumsum(np.bincount(step.ravel(), weights=np.tile([1, -1], ranges.shape[0]), minlength=edges.size))
    return edges[ranges_of(depth >= least)]


def _members(ranges: Ranges) -> NDArray[np.int64]:
    """Return every number in some ranges."""
    length = ranges[:, 1] - ranges[:, 0]
    return np.repeat(ranges[:, 1] - np.cumsum(length), length) + np.arange(length.sum())


def _lon_lat(point: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return unit vectors, (n, 3), as degrees."""
    x, y, z = point.T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
