"""The contents of a map, independent of the library that draws it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, check_extra
from ._label_placement import Label, place_labels
from .color_scale import Scale

Line = NDArray[np.float64]
BoundingBox = tuple[float, float, float, float]
"""West, south, east and north, in degrees."""

MAP_LIBRARIES = {".png": "matplotlib", ".svg": "matplotlib", ".html": "bokeh"}
_FINE_DEGREES = 0.4  # degrees per pixel, below which the fine outlines show more than the coarse ones
_PIN_PIXELS = 17.0
_LETTER_PIXELS, _LINE_PIXELS = 8.8, 15.0  # size of a name, rounded up
_DIGIT_PIXELS = 5.0  # per digit of a rank beyond two
_STAR_PIXELS = 16.0
_MOST_RANKS = 200  # further places have no pin


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An example on a map: its name, its points, (n,) degrees, and the outline of an area; ``wanted`` or unwanted."""

    name: str
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    wanted: bool
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pin:
    """A placed label: its text, the lon and lat of its place, and its offset to the right and down in pixels."""

    text: str
    is_rank: bool
    lon: float
    lat: float
    right: float
    down: float


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The contents of a map.

    Attributes
    ----------
    title, subtitle, credit : str
    bounds : (west, south, east, north)
        Degrees, east above west.
    width, height : int
        Of the map, in pixels.
    similarity : (h, w) float32 or None
        The similarity of each pixel, north up, which ``scale`` colors; NaN is transparent.
    scale : Scale or None
    colors : (h, w, 4) uint8 or None
        The colors of the pixels, instead of similarity and scale.
    examples : tuple of Example
    lon, lat : (n,) float64
        The resulting places, most similar first.
    names, details : sequence of str
        Their names beside the map, and a line of further information for each.
    regions, areas : tuple of (m, 2) array
        Outlines of resulting regions, and of the area that was searched.
    """

    title: str
    subtitle: str
    credit: str
    bounds: BoundingBox
    width: int
    height: int
    similarity: NDArray[np.float32] | None = None
    scale: Scale | None = None
    colors: NDArray[np.uint8] | None = None
    examples: tuple[Example, ...] = ()
    lon: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    lat: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    names: Sequence[str] = ()
    details: Sequence[str] = ()
    regions: tuple[Line, ...] = ()
    areas: tuple[Line, ...] = ()

    @property
    def level(self) -> str:
        """The level of detail of coasts and borders."""
        west, _, east, _ = self.bounds
        return "fine" if (east - west) / self.width < _FINE_DEGREES else "coarse"

    def image(self) -> NDArray[np.uint8] | None:
        """Return the colors of the pixels, (h, w, 4) uint8, if any."""
        if self.similarity is None or self.scale is None:
            return self.colors
        return self.scale.paint(self.similarity)

    def turned(self, lon: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return longitudes shifted by multiples of 360 degrees into the bounds of the map."""
        west, _, east, _ = self.bounds
        turned: NDArray[np.float64] = np.where((lon >= west) & (lon <= east), lon, (lon - west) % 360 + west)
        return turned

    def shifts(self) -> list[float]:
        """Return the multiples of 360 degrees to add to lines in [-180, 180] to cover the bounds of the map."""
        west, _, east, _ = self.bounds
        return [360.0 * turn for turn in range(math.floor((west + 180) / 360), math.ceil((east - 180) / 360) + 1)]

    def pins(self) -> list[Pin]:
        """Return labels of the examples and the ranks of the places, as far as there is room for them."""
        examples = [example for example in self.examples if example.lon.size]
        lon = np.concatenate([[example.lon[0] for example in examples], self.lon[:_MOST_RANKS]])
        lat = np.concatenate([[example.lat[0] for example in examples], self.lat[:_MOST_RANKS]])
        texts = [*(example.name for example in examples), *map(str, range(1, lon.size - len(examples) + 1))]
        west, south, east, north = self.bounds
        lon = self.turned(lon)
        x, y = (lon - west) / (east - west) * self.width, (north - lat) / (north - south) * self.height
        inside = np.flatnonzero((x >= 0) & (x <= self.width) & (y >= 0) & (y <= self.height)).tolist()
        labels = [_label(texts[i], float(x[i]), float(y[i]), is_rank=i >= len(examples)) for i in inside]
        stars = [Label(float(x[i]), float(y[i]), _STAR_PIXELS, _STAR_PIXELS) for i in inside if i < len(examples)]
        spots = place_labels(labels, self.width, self.height, taken=stars)
        return [
            Pin(texts[i], i >= len(examples), float(lon[i]), float(lat[i]), *spot)
            for i, spot in zip(inside, spots, strict=True)
            if spot is not None
        ]


def _label(text: str, x: float, y: float, *, is_rank: bool) -> Label:
    if is_rank:
        return Label(x, y, _PIN_PIXELS + _DIGIT_PIXELS * max(0, len(text) - 2), _PIN_PIXELS, over=True)
    return Label(x, y, _LETTER_PIXELS * len(text), _LINE_PIXELS)


def join_lines(lines: Iterable[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Return lines as one, (n, 2), separated by NaN, which also hides segments along the antimeridian.

    Outlines are cut in two there.
    """
    gap = np.full((1, 2), np.nan)
    points: NDArray[np.float64] = np.concatenate([gap, *(part for line in lines for part in (line, gap))])
    at_side = np.abs(points[:, 0]) == 180
    along = np.flatnonzero(at_side[:-1] & at_side[1:]) + 1
    return np.insert(points[1:], along - 1, np.nan, axis=0)


def check_map_path(path: Path) -> None:
    """Raise if a map cannot be written to a file because of its suffix, its folder, or a missing library.

    Raises
    ------
    OutputError
        If the suffix is not .png, .svg or .html, or the folder does not exist.
    MissingExtraError
        If the library that draws such a map is not installed.
    """
    library = MAP_LIBRARIES.get(path.suffix.lower())
    if library is None:
        raise OutputError(f"A map cannot be written to {path}; end the name in {', '.join(MAP_LIBRARIES)}.")
    if not path.parent.is_dir():
        raise OutputError(f"A map cannot be written to {path}: there is no folder {path.parent}. Make it first.")
    if path.is_dir():
        raise OutputError(f"A map cannot be written to {path}: that is a folder.")
    check_extra(library, "map")


def lines_of_geojson(geometry: dict[str, Any]) -> list[Line]:
    """Return the rings of a GeoJSON Polygon or MultiPolygon, (n, 2) degrees each."""
    parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return [np.array(ring, dtype=np.float64)[:, :2] for part in parts for ring in part]
