"""What a view needs: the picture of similarity, coastlines, and pins with room for a number."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import PlaceError
from ..geo.geojson_shapes import read_shape
from ..maps.coastlines import Level, load_outlines
from ..maps.color_scale import Scale
from ..maps.heatmap import WORLD, BoundingBox
from ..maps.map_contents import join_lines, lines_of_geojson
from ._state import View, read_area

TURNS = (-360.0, 0.0, 360.0)  # the range of a view of the whole Earth
NOTHING = 255  # color number of a pixel without a cell
STEPS = 255  # color numbers 0 to 254; the last color of the palette is not used
_WHOLE_WIDTHS = (512, 768, 1024, 1536)  # widths of pictures of the whole Earth: few, so that they are cached
_MOST_PIXELS = 1600  # per side
_CLOSE_PIXELS = 300_000  # of a closer view, which takes a microsecond per pixel
_MARGIN = 1.15  # of a view, so that small moves stay within the picture
_BINS = 1 << 15  # of the lookup table
_FINE_BELOW = 120.0  # degrees; narrower views show the fine coastline


class Canvas(NamedTuple):
    """The bounds of a picture, (west, south, east, north) in degrees, and its size in pixels."""

    bounds: BoundingBox
    width: int
    height: int


def canvas_of(view: View, size: tuple[int, int]) -> Canvas:
    """Return the canvas for a view of (width, height) pixels: the whole Earth if its resolution is sufficient."""
    width, height = (min(max(side, 64), _MOST_PIXELS) for side in size)
    per_degree = width / view.width
    for whole in _WHOLE_WIDTHS:
        if 360 * per_degree <= whole * 1.05:
            return Canvas(WORLD, whole, whole // 2)
    lon_span = min(view.width * _MARGIN, 360.0)
    half_lat = view.width * height / width * _MARGIN / 2
    south, north = max(view.lat - half_lat, -90.0), min(view.lat + half_lat, 90.0)
    per_degree = min(per_degree, _MOST_PIXELS / lon_span, math.sqrt(_CLOSE_PIXELS / (lon_span * (north - south))))
    rows = max(1, math.ceil((north - south) * per_degree))
    return Canvas(
        (view.lon - lon_span / 2, south, view.lon + lon_span / 2, north), math.ceil(lon_span * per_degree), rows
    )


class Steps:
    """A lookup table of color numbers: five times as fast as the scale, and exact to one color.

    Parameters
    ----------
    scale : Scale
    """

    def __init__(self, scale: Scale) -> None:
        bins = np.linspace(-1, 1, _BINS).astype(np.float32)
        self._of_bin = np.append(np.minimum(scale.steps(bins), STEPS - 1), NOTHING).astype(np.uint8)

    def of(self, similarity: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the color number of each similarity; ``NOTHING`` for NaN."""
        bins = np.clip((similarity + np.float32(1)) * np.float32((_BINS - 1) / 2) + np.float32(0.5), 0, _BINS - 1)
        return self._of_bin[np.where(np.isnan(bins), np.float32(_BINS), bins).astype(np.intp)]


def lines_in(view: View) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the coastlines and borders near a view, (p,) lon and lat, with NaN between lines.

    Longitudes continue beyond the antimeridian, over the range of a view of the whole Earth.
    """
    if view.width > _FINE_BELOW:
        return _everywhere()
    lon, lat, east, west = _line_boxes("fine")
    shifted = []
    for turn in TURNS:
        near = (east + turn > view.lon - view.width) & (west + turn < view.lon + view.width)
        shifted += [(lon[i] + np.float32(turn), lat[i]) for i in np.flatnonzero(near)]
    return _joined(shifted)


@lru_cache(maxsize=1)
def _everywhere() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    lon, lat, *_ = _line_boxes("coarse")
    return _joined([(part + np.float32(turn), lat[i]) for turn in TURNS for i, part in enumerate(lon)])


@lru_cache(maxsize=2)
def _line_boxes(
    level: Level,
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]:
    """Return lon and lat of each line, and its easternmost and westernmost longitude."""
    drawn = load_outlines(level)
    lon, lat = (np.split(values, drawn.start[1:-1]) for values in (drawn.lon, drawn.lat))
    return lon, lat, np.array([part.max() for part in lon]), np.array([part.min() for part in lon])


def _joined(
    lines: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return lines concatenated, with NaN after each."""
    gap = np.array([np.nan], np.float32)
    if not lines:
        return gap, gap
    lon, lat = (np.concatenate([part for line in lines for part in (line[side], gap)]) for side in (0, 1))
    return lon, lat


@lru_cache(maxsize=16)
def rings_of(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the outline of a GeoJSON area, in the form of :func:`lines_in`, without edges along the antimeridian.

    Raises
    ------
    PlaceError
        If it is not an area.
    """
    shape = read_shape(read_area(text)).__geo_interface__
    if shape["type"] == "MultiPoint":
        raise PlaceError("The area contains points; a search area must consist of polygons.")
    lines = join_lines(lines_of_geojson(shape))
    return np.concatenate([lines[:, 0] + turn for turn in TURNS]), np.tile(lines[:, 1], len(TURNS))


def with_room(lon: NDArray[np.float64], lat: NDArray[np.float64], apart: float) -> NDArray[np.bool_]:
    """Select pins, (n,) degrees in order of priority, that are at least ``apart`` degrees from all selected before."""
    kept = np.zeros(lon.size, dtype=bool)
    for i in range(lon.size):
        across = np.abs((lon[kept] - lon[i] + 180) % 360 - 180)
        kept[i] = not np.any(np.maximum(across, np.abs(lat[kept] - lat[i])) < apart)
    return kept
