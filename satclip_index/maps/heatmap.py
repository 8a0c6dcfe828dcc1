"""Heat maps: the similarity of the cell under each pixel of a map."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..checks import check_whole_number
from ..errors import QueryError
from ..geo import grid, sphere
from ..search.embedding_source import EmbeddingSource
from ..search.index import Index
from ..storage.manifest import Manifest
from .map_contents import BoundingBox as BoundingBox

WORLD: BoundingBox = (-180.0, -90.0, 180.0, 90.0)
_PIXELS_PER_CELL = 2.0  # width of a cell on the map, at most, while the atlas has finer cells
_SCAN_SHARE = 0.5  # of all rows: above, comparing all rows in order is faster
_CACHED_VIEWS = 32  # one of 900 x 450 pixels takes 3 MB


@dataclass(frozen=True, slots=True)
class MapView:
    """The part of the Earth that a map shows, and its size in pixels.

    Attributes
    ----------
    bounds : (west, south, east, north)
        Degrees, east above west; pixels are regular in lon and lat. Areas beyond a pole are left empty.
    width, height : int
        Pixels.
    """

    bounds: BoundingBox = WORLD
    width: int = 900
    height: int = 450

    @classmethod
    def fit(cls, bounds: BoundingBox, longer_side: int) -> Self:
        """Return a view with square pixels whose longer side has that many; check the bounds."""
        west, south, east, north = bounds = check_bounds(bounds)
        pixels_per_degree = longer_side / max(east - west, north - south)
        width, height = pixels_per_degree * (east - west), pixels_per_degree * (north - south)
        return cls(bounds, max(1, round(width)), max(1, round(height)))

    def pixel_centers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the longitude of each column of pixels, in [-180, 180], and the latitude of each row, north first."""
        west, south, east, north = self.bounds
        lon: NDArray[np.float64] = west + np.arange(0.5, self.width) * ((east - west) / self.width)
        lat: NDArray[np.float64] = north - np.arange(0.5, self.height) * ((north - south) / self.height)
        return (lon + 180) % 360 - 180, lat


@dataclass(frozen=True, slots=True)
class Heat:
    """The similarity of the cell under each pixel of a map.

    Attributes
    ----------
    similarity : (height, width) float32
        Of the cell under the center of each pixel, north up; NaN without a cell.
    bounds : (west, south, east, north)
        Degrees, east above west; pixels are regular in lon and lat.
    res : int
        The resolution of the cells.
    """

    similarity: NDArray[np.float32]
    bounds: BoundingBox
    res: int


@dataclass(frozen=True, slots=True)
class PixelRows:
    """The rows of an index under the pixels of a map.

    Attributes
    ----------
    rows : (n,) int64
        Distinct rows, ascending.
    pixels : (height, width) int32
        For each pixel, its position in ``rows``; -1 without a row.
    """

    rows: NDArray[np.int64]
    pixels: NDArray[np.int32]


class HeatMaps:
    """Heat maps of one atlas; may be shared among threads.

    Parameters
    ----------
    atlas : EmbeddingSource
        The cells under the pixels of a view are cached for the 32 views used last.
    """

    def __init__(self, atlas: EmbeddingSource) -> None:
        self._atlas = atlas
        self._pixel_rows = lru_cache(maxsize=_CACHED_VIEWS)(self._find_pixel_rows)

    def heat(
        self,
        query: NDArray[np.float32],
        bounds: BoundingBox,
        width: int,
        height: int,
        *,
        res: int | None = None,
        land_only: bool = False,
    ) -> Heat:
        """Return the similarity of each pixel of a map to a query.

        Parameters
        ----------
        query : (dim,) float32
            A query vector, from :meth:`Atlas.query_vector`.
        bounds : (west, south, east, north)
            Degrees; any longitudes, and west above east crosses the antimeridian. Pixels beyond a pole are NaN.
        width, height : int
            Pixels.
        res : int, optional
            A resolution of the atlas; by default the coarsest whose cells are at most two pixels wide, or the finest.
        land_only : bool
            Also return NaN for cells whose center is not on land.

        Raises
        ------
        QueryError
            If the bounds are empty, or the query is not a vector of this atlas.
        ResolutionError
            If the atlas does not have the resolution.
        """
        bounds = check_bounds(bounds)
        if query.shape != (self._atlas.manifest.dim,):
            raise QueryError(f"The query has shape {query.shape}; expected one vector, ({self._atlas.manifest.dim},).")
        for name, pixels in (("width", width), ("height", height)):
            check_whole_number(name, pixels)
        view = MapView(bounds, int(width), int(height))
        res = fitting_res(self._atlas.manifest, view) if res is None else res
        index, found = self._atlas.index(res), self._pixel_rows(view, res)
        if found.rows.size > _SCAN_SHARE * len(index):
            similarity = index.engine.scan(query)[found.rows]
        else:
            similarity = index.engine.similarity_of(query, found.rows)
        if land_only:
            similarity = np.where(index.tree.rows.land[found.rows] != 0, similarity, np.float32(np.nan))
        # The last value, which -1 refers to, is that of pixels without a cell.
        return Heat(np.append(similarity, np.float32(np.nan))[found.pixels], bounds, res)

    def _find_pixel_rows(self, view: MapView, res: int) -> PixelRows:
        return find_pixel_rows(self._atlas.index(res), view)


def heat_map(
    atlas: EmbeddingSource,
    query: NDArray[np.float32],
    view: MapView | None = None,
    *,
    res: int | None = None,
    land_only: bool = False,
) -> Heat:
    """Return the similarity of each pixel of a single map, by default of the world; as :meth:`HeatMaps.heat`."""
    view = view or MapView()
    return HeatMaps(atlas).heat(query, view.bounds, view.width, view.height, res=res, land_only=land_only)


def find_pixel_rows(index: Index, view: MapView) -> PixelRows:
    """Return the rows of an index under the pixels of a map."""
    lon, lat = view.pixel_centers()
    on_earth = np.abs(lat) <= 90
    lons, lats = np.meshgrid(lon, lat[on_earth])
    rows = np.full((view.height, view.width), -1, np.int64)
    rows[on_earth] = index.rows_of(grid.cells_of_points(lons.ravel(), lats.ravel(), index.res)).reshape(lons.shape)
    distinct, pixels = np.unique(rows, return_inverse=True)
    missing = int(distinct[0] < 0)
    return PixelRows(distinct[missing:], pixels.reshape(rows.shape).astype(np.int32) - np.int32(missing))


def check_bounds(bounds: BoundingBox) -> BoundingBox:
    """Return bounds with east above west, or raise QueryError if they are empty."""
    west, south, east, north = map(float, bounds)
    east += 360 if west > east else 0
    if not all(map(math.isfinite, (west, south, east, north))) or not west < east or not south < north:
        raise QueryError(f"The view {bounds!r} is empty; expected (west, south, east, north) in degrees.")
    return west, south, east, north


def fitting_res(manifest: Manifest, view: MapView) -> int:
    """Return the coarsest resolution of an atlas whose cells are at most two pixels wide, or the finest."""
    west, south, east, north = view.bounds
    nearest_equator = min(max(0.0, south, -north), 90.0)
    km_per_degree = math.radians(sphere.EARTH_RADIUS_KM)
    across = (east - west) / view.width * math.cos(math.radians(nearest_equator))
    pixel_km = km_per_degree * min(across, (north - south) / view.height)
    for res in manifest.resolutions:
        if _cell_km(res) <= _PIXELS_PER_CELL * pixel_km:
            break
    return res


def _cell_km(res: int) -> float:
    """Return the width of a cell: the side of a square of its mean area."""
    return math.sqrt(4 * math.pi * sphere.EARTH_RADIUS_KM**2 / grid.cell_count(res))
