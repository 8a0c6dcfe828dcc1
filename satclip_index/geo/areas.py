"""Regions of the Earth, with tests for points and for spherical caps; and the cells inside a region."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CoordinateError
from . import grid, sphere
from .coordinates import check_coordinates
from .geojson_shapes import compare_boxes, contains_points, ring_coordinates

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Mask = NDArray[np.bool_]
Degrees = NDArray[np.float64]

# Measured on all cells of res 0-3 and on samples of finer ones: the center of a child is at most 0.1444 / sqrt(7)^res
# from that of its parent. Each resolution is finer by sqrt(7), hence the geometric series over all descendants.
_STEP_RAD = 0.145
_FINER = 7**-0.5
_MARGIN_RAD = 1e-9  # far above rounding errors of degrees and sines; 6 mm
_MARGIN_KM = 1e-3  # far above rounding errors of distances, which reach 0.1 m at the antipode


class Region(Protocol):
    """A part of the Earth."""

    def holds(self, lon: Degrees, lat: Degrees) -> Mask:
        """Return whether each point, (n,) degrees, is inside."""

    def holds_caps(self, lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Mask, Mask]:
        """Return whether all, and whether none, of the points of each cap are inside.

        A cap has a center, (n,) degrees, and an angular radius. In doubt both are False, and the caller must test the
        points of the cap.
        """


class Area:
    """The area that a shape covers, including its edges.

    Parameters
    ----------
    shape : shapely geometry
        A result of :func:`~satclip_index.geo.geojson_shapes.read_shape`.
    """

    def __init__(self, shape: "BaseGeometry") -> None:
        self._shape = shape

    def holds(self, lon: Degrees, lat: Degrees) -> Mask:
        """Return whether each point, (n,) degrees, is inside."""
        return contains_points(self._shape, lon, lat)

    def lines(self) -> list[Degrees]:
        """Return the outline as rings, (n, 2) degrees each."""
        return ring_coordinates(self._shape)

    def holds_caps(self, lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Mask, Mask]:
        """Return whether each cap is certainly inside, and certainly outside, by its bounding box."""
        west, south, east, north = cap_bounds(lon, lat, reach_rad)
        inside, outside = compare_boxes(self._shape, np.maximum(west, -180), south, np.minimum(east, 180), north)
        cut = np.flatnonzero((west < -180) | (east > 180))  # the part beyond 180 degrees continues on the other side
        west, east = np.where(west < -180, west + 360, -180)[cut], np.where(east > 180, east - 360, 180)[cut]
        rest_inside, rest_outside = compare_boxes(self._shape, west, south[cut], east, north[cut])
        inside[cut] &= rest_inside
        outside[cut] &= rest_outside
        return inside, outside


class Box:
    """The area between two meridians, eastward from ``west`` to ``east``, and two parallels, including its edges.

    Parameters
    ----------
    west, east : float
        Degrees in [-180, 360]. If west > east, the box crosses the antimeridian.
    south, north : float
        Degrees in [-90, 90], with south < north.

    Raises
    ------
    CoordinateError
        If a side is out of range or the box is empty.
    """

    def __init__(self, west: float, south: float, east: float, north: float) -> None:
        try:
            check_coordinates([west, east], [south, north])
            start, self._south, end, self._north = float(west), float(south), float(east), float(north)
            width = end - start if start < end else (end - start) % 360
            problem = (
                "south is not below north" if self._south >= self._north else "west equals east" if width == 0 else ""
            )
        except CoordinateError:
            problem = "a side is out of range"
        if problem:
            raise CoordinateError(
                f"{west},{south},{east},{north} is not a box: {problem}. Expected W,S,E,N in degrees, with lon in "
                "[-180, 360] and lat in [-90, 90]. Are they swapped?"
            )
        if width >= 360:
            start, width = -180.0, 360.0
        turned = [(max(west, -180.0), min(west + width, 180.0)) for west in (start, start - 360, start - 720)]
        self._spans = [(low, high) for low, high in turned if low < high]

    def holds(self, lon: Degrees, lat: Degrees) -> Mask:
        """Return whether each point, (n,) degrees, is inside."""
        inside = np.zeros(lon.size, dtype=bool)
        for low, high in self._spans:
            inside |= (lon >= low) & (lon <= high)
        return inside & (lat >= self._south) & (lat <= self._north)

    def lines(self) -> list[Degrees]:
        """Return the outline as one ring, or two if the box crosses the antimeridian, (5, 2) degrees each."""
        south, north = self._south, self._north
        return [
            np.array([(low, south), (high, south), (high, north), (low, north), (low, south)])
            for low, high in self._spans
        ]

    def holds_caps(self, lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Mask, Mask]:
        """Return whether each cap is certainly inside, and certainly outside, by its bounding box."""
        west, south, east, north = cap_bounds(lon, lat, reach_rad)
        outside = (north < self._south) | (south > self._north)
        inside, apart = np.zeros(lon.size, dtype=bool), np.ones(lon.size, dtype=bool)
        for low, high in self._spans:
            inside |= (west >= low) & (east <= high)
            for turn in (-360, 0, 360):  # a cap that crosses the antimeridian has one side beyond it
                apart &= (east + turn < low) | (west + turn > high)
        return inside & (south >= self._south) & (north <= self._north), outside | apart


class FarFrom:
    """The area that is at least a distance away from each of several points.

    Parameters
    ----------
    points : PointSet
    radius_km : float
    """

    def __init__(self, points: sphere.PointSet, radius_km: float) -> None:
        self._points, self._radius_km = points, radius_km

    def holds(self, lon: Degrees, lat: Degrees) -> Mask:
        """Return whether each point, (n,) degrees, is inside."""
        return self._points.distance_km(lon, lat) >= self._radius_km

    def holds_caps(self, lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Mask, Mask]:
        """Return whether each cap is certainly inside, and certainly outside, by the triangle inequality."""
        distance_km, reach_km = self._points.distance_km(lon, lat), reach_rad * sphere.EARTH_RADIUS_KM + _MARGIN_KM
        return distance_km - reach_km >= self._radius_km, distance_km + reach_km < self._radius_km


def cells_in(region: Region, res: int) -> grid.Cells:
    """Return the cells of a resolution whose center is inside a region, ascending."""
    inside_cells, open_cells = [], grid.cells_at(0)
    for coarser in range(res):
        inside, outside = region.holds_caps(
            *grid.cell_centers(open_cells), np.full(open_cells.size, descendant_reach_rad(coarser))
        )
        inside_cells.append(open_cells[inside])
        open_cells = grid.descendants(open_cells[~(inside | outside)], coarser + 1)
    inside_cells.append(open_cells[region.holds(*grid.cell_centers(open_cells))])
    return grid.descendants(np.concatenate(inside_cells), res)


def descendant_reach_rad(res: int) -> float:
    """Return an upper bound of the angle between the centers of a cell of a resolution and of its descendants."""
    return _STEP_RAD * _FINER**res / (1 - _FINER)


def cap_bounds(lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Degrees, Degrees, Degrees, Degrees]:
    """Return a bounding box in degrees of each spherical cap, rounded outward.

    Parameters
    ----------
    lon, lat : (n,) float64
        Center of each cap, in degrees; lon in [-180, 180].
    reach_rad : (n,) float64
        Angular radius of each cap, in [0, pi].

    Returns
    -------
    west, south, east, north : (n,) float64
        Degrees; west < -180 or east > 180 where a cap crosses the antimeridian. A cap that contains a pole spans all
        longitudes, -180 to 180.

    Notes
    -----
    The meridians that touch a cap of radius r at latitude p are asin(sin r / cos p) from its center, more than r: its
    widest parallel is poleward of p.
    """
    reach_rad = reach_rad + _MARGIN_RAD
    reach = np.degrees(reach_rad)
    south, north = lat - reach, lat + reach
    around_pole = (south <= -90) | (north >= 90)
    ratio = np.sin(reach_rad) / np.maximum(np.cos(np.radians(lat)), _MARGIN_RAD)
    half_width = np.degrees(np.arcsin(np.clip(ratio, 0, 1)))
    west = np.where(around_pole, -180.0, lon - half_width)
    east = np.where(around_pole, 180.0, lon + half_width)
    return west, np.maximum(south, -90), east, np.minimum(north, 90)
