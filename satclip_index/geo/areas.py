"""Parts of the Earth that can say of whole caps, as of points, whether they hold them; and the cells they hold."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CoordinateError
from . import grid, sphere
from .coordinates import check_coordinates
from .geojson_shapes import boxes_against, holds_points, lines_of

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Mask = NDArray[np.bool_]
Degrees = NDArray[np.float64]

# Measured on every cell of res 0-3 and on a sample of the finer: no child's centre is further from its parent's than
# 0.1444 / sqrt(7)^res. A child's grid is finer by sqrt(7), hence the geometric series over all descendants.
_STEP_RAD = 0.145
_FINER = 7**-0.5
_MARGIN_RAD = 1e-9  # far above what a degree or a sine rounds; 6 mm
_MARGIN_KM = 1e-3  # far above what a distance rounds, even to the antipode: 0.1 m


class Region(Protocol):
    """A part of the Earth."""

    def holds(self, lon: Degrees, lat: Degrees) -> Mask:
        """Return whether each point, (n,) degrees, is part of it."""

    def holds_caps(self, lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Mask, Mask]:
        """Return whether all, and whether none, of the points within a reach of each place are part of it.

        Neither may be claimed in doubt; a cap of which neither is true is to be looked at more closely.
        """


class Area:
    """What a shape on the plane covers, its edges included.

    Parameters
    ----------
    shape : shapely geometry
        As :func:`~satclip_index.geo.geojson_shapes.read_shape` gives it.
    """

    def __init__(self, shape: "BaseGeometry") -> None:
        self._shape = shape

    def holds(self, lon: Degrees, lat: Degrees) -> Mask:
        """Return whether each point, (n,) degrees, is part of it."""
        return holds_points(self._shape, lon, lat)

    def lines(self) -> list[Degrees]:
        """Return its outline: rings, (n, 2) degrees each."""
        return lines_of(self._shape)

    def holds_caps(self, lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Mask, Mask]:
        """Return whether all, and whether none, of each cap is surely part of it: by the box round the cap."""
        west, south, east, north = boxes_round(lon, lat, reach_rad)
        inside, outside = boxes_against(self._shape, np.maximum(west, -180), south, np.minimum(east, 180), north)
        cut = np.flatnonzero((west < -180) | (east > 180))  # what lies beyond comes in on the other side
        west, east = np.where(west < -180, west + 360, -180)[cut], np.where(east > 180, east - 360, 180)[cut]
        rest_inside, rest_outside = boxes_against(self._shape, west, south[cut], east, north[cut])
        inside[cut] &= rest_inside
        outside[cut] &= rest_outside
        return inside, outside


class Box:
    """What lies between two meridians, going east from ``west`` to ``east``, and two parallels, its edges included.

    Parameters
    ----------
    west, east : float
        Degrees in [-180, 360]. West above east crosses the antimeridian.
    south, north : float
        Degrees in [-90, 90], south below north.

    Raises
    ------
    CoordinateError
        If it is not such a box.
    """

    def __init__(self, west: float, south: float, east: float, north: float) -> None:
        try:
            check_coordinates([west, east], [south, north])
            start, self._south, end, self._north = float(west), float(south), float(east), float(north)
            width = end - start if start < end else (end - start) % 360
            wrong = "south is not below north" if self._south >= self._north else "west is east" if width == 0 else ""
        except CoordinateError:
            wrong = "a side is not on Earth"
        if wrong:
            raise CoordinateError(
                f"{west},{south},{east},{north} is not a box: {wrong}. Expected W,S,E,N in degrees, lon in [-180, 360] "
                "and lat in [-90, 90]. Are they swapped?"
            )
        if width >= 360:
            start, width = -180.0, 360.0
        turned = [(max(west, -180.0), min(west + width, 180.0)) for west in (start, start - 360, start - 720)]
        self._spans = [(low, high) for low, high in turned if low < high]

    def holds(self, lon: Degrees, lat: Degrees) -> Mask:
        """Return whether each point, (n,) degrees, is part of it."""
        held = np.zeros(lon.size, dtype=bool)
        for low, high in self._spans:
            held |= (lon >= low) & (lon <= high)
        return held & (lat >= self._south) & (lat <= self._north)

    def lines(self) -> list[Degrees]:
        """Return its outline: a ring on either side of the antimeridian, if it lies across, (5, 2) degrees each."""
        south, north = self._south, self._north
        return [
            np.array([(low, south), (high, south), (high, north), (low, north), (low, south)])
            for low, high in self._spans
        ]

    def holds_caps(self, lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Mask, Mask]:
        """Return whether all, and whether none, of each cap is surely part of it: by the box round the cap."""
        west, south, east, north = boxes_round(lon, lat, reach_rad)
        outside = (north < self._south) | (south > self._north)
        inside, apart = np.zeros(lon.size, dtype=bool), np.ones(lon.size, dtype=bool)
        for low, high in self._spans:
            inside |= (west >= low) & (east <= high)
            for turn in (-360, 0, 360):  # a cap over the antimeridian has a side beyond it
                apart &= (east + turn < low) | (west + turn > high)
        return inside & (south >= self._south) & (north <= self._north), outside | apart


class FarFrom:
    """Whatever is at least so far from every one of some points.

    Parameters
    ----------
    points : PointSet
    radius_km : float
    """

    def __init__(self, points: sphere.PointSet, radius_km: float) -> None:
        self._points, self._radius_km = points, radius_km

    def holds(self, lon: Degrees, lat: Degrees) -> Mask:
        """Return whether each point, (n,) degrees, is part of it."""
        return self._points.distance_km(lon, lat) >= self._radius_km

    def holds_caps(self, lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]) -> tuple[Mask, Mask]:
        """Return whether all, and whether none, of each cap is surely part of it: by the triangle inequality."""
        distance_km, reach_km = self._points.distance_km(lon, lat), reach_rad * sphere.EARTH_RADIUS_KM + _MARGIN_KM
        return distance_km - reach_km >= self._radius_km, distance_km + reach_km < self._radius_km


def cells_in(region: Region, res: int) -> grid.Cells:
    """Return the cells of a resolution whose centres a region holds, ascending."""
    found, open_cells = [], grid.cells_at(0)
    for coarser in range(res):
        inside, outside = region.holds_caps(
            *grid.cell_centers(open_cells), np.full(open_cells.size, reach_of_descendants_rad(coarser))
        )
        found.append(open_cells[inside])
        open_cells = grid.descendants(open_cells[~(inside | outside)], coarser + 1)
    found.append(open_cells[region.holds(*grid.cell_centers(open_cells))])
    return grid.descendants(np.concatenate(found), res)


def reach_of_descendants_rad(res: int) -> float:
    """Return an angle that no descendant's centre is further away than from the centre of a cell of a resolution."""
    return _STEP_RAD * _FINER**res / (1 - _FINER)


def boxes_round(
    lon: Degrees, lat: Degrees, reach_rad: NDArray[np.float64]
) -> tuple[Degrees, Degrees, Degrees, Degrees]:
    """Return a box of degrees round each cap, rounded outwards.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees; the middle of each cap, lon in [-180, 180].
    reach_rad : (n,) float64
        Radians from the middle to the rim, in [0, pi].

    Returns
    -------
    west, south, east, north : (n,) float64
        Degrees; west or east lies beyond 180 where a cap crosses the antimeridian. A cap that holds a pole has all
        longitudes, -180 to 180.

    Notes
    -----
    The meridians that touch a cap of reach r round latitude p are asin(sin r / cos p) from its own, wider than r: its
    widest parallel lies poleward of p.
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
