"""Geography turned into what the engine understands: disks on the sphere, and ranges of rows."""

import numpy as np
from numpy.typing import NDArray

from .. import grid
from .engine import Ranges
from .index import Index

MANY_POINTS = 32
"""Up to so many points are disks, tested one by one; an area of more is turned into ranges of rows."""


def disks(lon: NDArray[np.float64], lat: NDArray[np.float64], radius_km: float) -> NDArray[np.float64]:
    """Return a disk round each point, (n, 4) float64: a unit vector, and the radius in radians; none if it is 0."""
    if radius_km <= 0:
        return np.empty((0, 4))
    radius_rad = np.full((lon.size, 1), radius_km / grid.EARTH_RADIUS_KM)
    return np.hstack([grid.unit_vectors(lon, lat), radius_rad])


def away_from(index: Index, points: grid.PointSet, radius_km: float) -> Ranges:
    """Return the rows, as ranges, at least so far from every one of many points."""
    return ranges_of(points.distance_km(*grid.cell_centers(index.cells)) >= radius_km)


def ranges_of(mask: NDArray[np.bool_]) -> Ranges:
    """Return the runs of true in a mask over rows, (m, 2) int64: sorted and disjoint."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2)
