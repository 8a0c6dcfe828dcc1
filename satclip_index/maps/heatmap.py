"""Similarity as a picture: which cell lies under each pixel, and how alike it is."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..checks import check_whole_number
from ..errors import QueryError
from ..geo import grid, sphere
from ..search.index import Index, Indexed
from ..storage.manifest import Manifest
from .map_contents import Bounds as Bounds

WORLD: Bounds = (-180.0, -90.0, 180.0, 90.0)
_PIXELS_PER_CELL = 2.0  # across, at most, while the atlas holds finer ones
_SCAN_SHARE = 0.5  # of all rows: from here on it is faster to compare them all, in order
_VIEWS = 32  # kept; one of 900 x 450 pixels takes 3 MB


@dataclass(frozen=True, slots=True)
class Heat:
    """How alike the Earth is, pixel by pixel.

    Attributes
    ----------
    similarity : (height, width) float32
        Of the cell under the middle of each pixel, north up; NaN where there is none to compare with.
    bounds : (west, south, east, north)
        Degrees, east above west. Pixels are even in lon and lat.
    res : int
        The resolution of the cells.
    """

    similarity: NDArray[np.float32]
    bounds: Bounds
    res: int


@dataclass(frozen=True, slots=True)
class View:
    """What lies under the pixels of a picture.

    Attributes
    ----------
    rows : (n,) int64
        Distinct rows of the atlas, ascending.
    shown : (height, width) int32
        Which of them each pixel shows; -1 for none.
    """

    rows: NDArray[np.int64]
    shown: NDArray[np.int32]


class HeatMaps:
    """Pictures of similarity, made of one atlas; safe to share among threads.

    Parameters
    ----------
    atlas : Atlas
        Which cells lie under the pixels of a view is looked up once, and kept for the 32 views last asked for.
    """

    def __init__(self, atlas: Indexed) -> None:
        self._atlas = atlas
        self._view = lru_cache(maxsize=_VIEWS)(self._looked_up)

    def heat(
        self,
        query: NDArray[np.float32],
        bounds: Bounds,
        width: int,
        height: int,
        *,
        res: int | None = None,
        land_only: bool = False,
    ) -> Heat:
        """Return how alike each pixel of a view is.

        Parameters
        ----------
        query : (dim,) float32
            What to be like, as :meth:`Atlas.query_vector` gives it.
        bounds : (west, south, east, north)
            Degrees; any longitudes, and west above east goes over the antimeridian. What lies beyond a pole is NaN.
        width, height : int
            Pixels.
        res : int, optional
            One of the atlas; by default the coarsest whose cells are no wider than two pixels, or else the finest.
        land_only : bool
            NaN also for cells whose centre is not land.

        Raises
        ------
        QueryError
            If there is nothing to be seen within the bounds, or the query is not a vector of this atlas.
        ResolutionError
            If the atlas does not hold the resolution.
        """
        bounds = check_bounds(bounds)
        if query.shape != (self._atlas.manifest.dim,):
            raise QueryError(f"The query has shape {query.shape}; expected one vector, ({self._atlas.manifest.dim},).")
        for name, pixels in (("width", width), ("height", height)):
            check_whole_number(name, pixels)
        res = fitting_res(self._atlas.manifest, bounds, width, height) if res is None else res
        index, view = self._atlas.index(res), self._view(bounds, int(width), int(height), res)
        if view.rows.size > _SCAN_SHARE * len(index):
            found = index.engine.scan(query)[view.rows]
        else:
            found = index.engine.similarity_of(query, view.rows)
        if land_only:
            found = np.where(index.tree.rows.land[view.rows] != 0, found, np.float32(np.nan))
        # The last, which -1 stands for, is that of pixels with no cell.
        return Heat(np.append(found, np.float32(np.nan))[view.shown], bounds, res)

    def _looked_up(self, bounds: Bounds, width: int, height: int, res: int) -> View:
        return view_of(self._atlas.index(res), bounds, width, height)


def heat_map(
    atlas: Indexed,
    query: NDArray[np.float32],
    bounds: Bounds = WORLD,
    width: int = 900,
    height: int = 450,
    *,
    res: int | None = None,
    land_only: bool = False,
) -> Heat:
    """Return how alike each pixel of a view is, as :meth:`HeatMaps.heat` does, for a single picture."""
    return HeatMaps(atlas).heat(query, bounds, width, height, res=res, land_only=land_only)


def view_of(index: Index, bounds: Bounds, width: int, height: int) -> View:
    """Return what lies under the pixels of a picture; ``bounds`` as :func:`check_bounds` gives them."""
    lon, lat = pixel_centers(bounds, width, height)
    on_earth = np.abs(lat) <= 90
    lons, lats = np.meshgrid(lon, lat[on_earth])
    rows = np.full((height, width), -1, np.int64)
    rows[on_earth] = index.rows_of(grid.cells_of_points(lons.ravel(), lats.ravel(), index.res)).reshape(lons.shape)
    distinct, shown = np.unique(rows, return_inverse=True)
    missing = int(distinct[0] < 0)
    return View(distinct[missing:], shown.reshape(rows.shape).astype(np.int32) - np.int32(missing))


def check_bounds(bounds: Bounds) -> Bounds:
    """Return the bounds with east above west, or raise QueryError if nothing lies within them."""
    west, south, east, north = map(float, bounds)
    east += 360 if west > east else 0
    if not all(map(math.isfinite, (west, south, east, north))) or not west < east or not south < north:
        raise QueryError(f"The view {bounds!r} is empty; expected (west, south, east, north) in degrees.")
    return west, south, east, north


def pixel_centers(bounds: Bounds, width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the longitude of each column of pixels, in [-180, 180], and the latitude of each row, from the north."""
    west, south, east, north = bounds
    lon: NDArray[np.float64] = west + np.arange(0.5, width) * ((east - west) / width)
    lat: NDArray[np.float64] = north - np.arange(0.5, height) * ((north - south) / height)
    return (lon + 180) % 360 - 180, lat


def pixels_of(bounds: Bounds, longer: int) -> tuple[int, int]:
    """Return width and height of a view in which a degree is as wide as tall, the longer of them so many pixels."""
    west, south, east, north = bounds
    per_degree = longer / max(east - west, north - south)
    return max(1, round(per_degree * (east - west))), max(1, round(per_degree * (north - south)))


def fitting_res(manifest: Manifest, bounds: Bounds, width: int, height: int) -> int:
    """Return the coarsest resolution of an atlas whose cells are no wider than two pixels of a view, or the finest."""
    west, south, east, north = bounds
    nearest_equator = min(max(0.0, south, -north), 90.0)
    km_per_degree = math.radians(sphere.EARTH_RADIUS_KM)
    across = (east - west) / width * math.cos(math.radians(nearest_equator))
    pixel_km = km_per_degree * min(across, (north - south) / height)
    for res in manifest.resolutions:
        if _cell_km(res) <= _PIXELS_PER_CELL * pixel_km:
            break
    return res


def _cell_km(res: int) -> float:
    """Return how wide a cell is: the side of a square as large as the mean cell."""
    return math.sqrt(4 * math.pi * sphere.EARTH_RADIUS_KM**2 / grid.cell_count(res))
