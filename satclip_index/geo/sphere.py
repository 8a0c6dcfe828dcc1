"""Points on the sphere: unit vectors, and great-circle distances in kilometers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG 1980 (Moritz 2000); the sphere is within 0.5 % of the ellipsoid
_MANY_POINTS = 32  # above this, a k-d tree is faster, including the import of scipy


def unit_vectors(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points on the unit sphere, (n, 3) float64, for degrees."""
    lon_rad, lat_rad = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat_rad) * np.cos(lon_rad), np.cos(lat_rad) * np.sin(lon_rad), np.sin(lat_rad)], axis=-1)


def distances_km(
    lon: NDArray[np.float64], lat: NDArray[np.float64], to_lon: NDArray[np.float64], to_lat: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the great-circle distance between the points of each pair.

    Parameters
    ----------
    lon, lat, to_lon, to_lat : (n,) float64
        Degrees.

    Returns
    -------
    (n,) float64
        Kilometers on the sphere of radius 6371.0088 km: within 0.5 % of the ellipsoid.
    """
    return chord_km(np.linalg.norm(unit_vectors(lon, lat) - unit_vectors(to_lon, to_lat), axis=1))


class PointSet:
    """Points on Earth to measure distances to: the points of an example, or the cells of an area.

    Parameters
    ----------
    lon, lat : (m,) float64
        Degrees; m at least 1.
    """

    def __init__(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> None:
        self.lon, self.lat = lon, lat
        self._vectors = unit_vectors(lon, lat)
        self._tree: Any = None
        if lon.size > _MANY_POINTS:
            from scipy.spatial import KDTree

            self._tree = KDTree(self._vectors)

    def __len__(self) -> int:
        return int(self.lon.size)

    def distance_km(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the great-circle distance from each point, (n,) degrees, to the nearest of the set, in km.

        Notes
        -----
        Computed from the chord of unit vectors, 2 R arcsin(|a - b| / 2), which is precise at small distances.
        """
        vectors = unit_vectors(lon, lat)
        if self._tree is not None:
            chord = self._tree.query(vectors)[0]
        else:
            chord = np.full(lon.size, np.inf)
            for member in self._vectors:
                chord = np.minimum(chord, np.linalg.norm(vectors - member, axis=1))
        return chord_km(chord)


def chord_km(chord: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the great-circle distance, in km, for the chord between two unit vectors."""
    kilometers: NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1.0))
    return kilometers
