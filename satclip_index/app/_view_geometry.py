"""What is drawn of a view: which pixels of similarity, which lines, and where a number has room."""

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

TURNS = (-360.0, 0.0, 360.0)  # a view of the whole Earth can be moved so far
NOTHING = 255  # the step of a pixel without a cell
STEPS = 255  # colours of the palette: 0 to 254; what would have the very last has the one before
_WHOLE_WIDTHS = (512, 768, 1024, 1536)  # pixels of a picture of the whole Earth: few, so that they are shared
_MOST_PIXELS = 1600  # of a side
_CLOSE_PIXELS = 300_000  # of a closer view: to look a new one up takes a microsecond a pixel
_MARGIN = 1.15  # of a view, so that a little panning finds the picture there
_BINS = 1 << 15  # of similarity
_FINE_BELOW = 120.0  # degrees across: there the fine coastline shows


class Canvas(NamedTuple):
    """A picture to be made: its bounds, (west, south, east, north) in degrees, and its pixels."""

    bounds: BoundingBox
    width: int
    height: int


def canvas_of(view: View, size: tuple[int, int]) -> Canvas:
    """Return the picture that a view of some pixels, (width, height), needs: all of the Earth while that is enough."""
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
    """The numbers of colours of a scale, looked up: five times as fast as the scale, and right to one of them.

    Parameters
    ----------
    scale : Scale
    """

    def __init__(self, scale: Scale) -> None:
        bins = np.linspace(-1, 1, _BINS).astype(np.float32)
        self._of_bin = np.append(np.minimum(scale.steps(bins), STEPS - 1), NOTHING).astype(np.uint8)

    def of(self, similarity: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the number of each similarity's colour; ``NOTHING`` for NaN."""
        bins = np.clip((similarity + np.float32(1)) * np.float32((_BINS - 1) / 2) + np.float32(0.5), 0, _BINS - 1)
        return self._of_bin[np.where(np.isnan(bins), np.float32(_BINS), bins).astype(np.intp)]


def lines_in(view: View) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the coastlines and borders near a view, (p,) lon and lat, NaN between one line and the next.

    Longitudes go on beyond the antimeridian, as far as a view of the whole Earth can be moved.
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
    """Return each line's lon and lat, and how far east and west it reaches."""
    drawn = load_outlines(level)
    lon, lat = (np.split(values, drawn.start[1:-1]) for values in (drawn.lon, drawn.lat))
    return lon, lat, np.array([part.max() for part in lon]), np.array([part.min() for part in lon])


def _joined(
    lines: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return lines as one, with NaN behind each."""
    gap = np.array([np.nan], np.float32)
    if not lines:
        return gap, gap
    lon, lat = (np.concatenate([part for line in lines for part in (line[side], gap)]) for side in (0, 1))
    return lon, lat


@lru_cache(maxsize=16)
def rings_of(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the outline of an area in GeoJSON, as :func:`lines_in` has lines; not along the antimeridian.

    Raises
    ------
    PlaceError
        If it is none.
    """
    shape = read_shape(read_area(text)).__geo_interface__
    if shape["type"] == "MultiPoint":
        raise PlaceError("The area holds points; an area to search in must be polygons.")
    lines = join_lines(lines_of_geojson(shape))
    return np.concatenate([lines[:, 0] + turn for turn in TURNS]), np.tile(lines[:, 1], len(TURNS))


def with_room(lon: NDArray[np.float64], lat: NDArray[np.float64], apart: float) -> NDArray[np.bool_]:
    """Return which of some pins, (n,) degrees, the first first, are at least so many degrees from all kept before."""
    kept = np.zeros(lon.size, dtype=bool)
    for i in range(lon.size):
        across = np.abs((lon[kept] - lon[i] + 180) % 360 - 180)
        kept[i] = not np.any(np.maximum(across, np.abs(lat[kept] - lat[i])) < apart)
    return kept
