"""What a map shows, whatever draws it; and what it says in words."""

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
Bounds = tuple[float, float, float, float]

MAP_LIBRARIES = {".png": "matplotlib", ".svg": "matplotlib", ".html": "bokeh"}
_FINE_DEGREES = 0.4  # a pixel; below, the fine outlines show more than the coarse ones
_PIN_PIXELS = 17.0
_LETTER_PIXELS, _LINE_PIXELS = 8.8, 15.0  # of a name, generously
_DIGIT_PIXELS = 5.0  # of a rank beyond the two that a pin holds
_STAR_PIXELS = 16.0
_MOST_RANKS = 200  # of the answers beyond, only the place is shown


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An example on a map: its name, its points, (n,) degrees, and for an area its outline; ``wanted`` or not."""

    name: str
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    wanted: bool
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pin:
    """A label in its place: the text, degrees of what it belongs to, and how many pixels right and down it is."""

    text: str
    is_rank: bool
    lon: float
    lat: float
    right: float
    down: float


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """All that a map shows.

    Attributes
    ----------
    title, subtitle, credit : str
    bounds : (west, south, east, north)
        Degrees, east above west.
    width, height : int
        Of the map, in pixels.
    similarity : (h, w) float32 or None
        North up, what ``scale`` gives colours; NaN is left as it is.
    scale : Scale or None
    colors : (h, w, 4) uint8 or None
        Colours to be shown as they are, instead.
    examples : tuple of Example
    lon, lat : (n,) float64
        The answers, most similar first.
    names, details : sequence of str
        What to call them beside the map, and what else there is to say of each.
    regions, areas : tuple of (m, 2) array
        Outlines of answers, and of where they were to be looked for.
    """

    title: str
    subtitle: str
    credit: str
    bounds: Bounds
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
        """How finely to draw coasts and borders."""
        west, _, east, _ = self.bounds
        return "fine" if (east - west) / self.width < _FINE_DEGREES else "coarse"

    def image(self) -> NDArray[np.uint8] | None:
        """Return the colours of the pixels, (h, w, 4) uint8, if there is anything to colour."""
        if self.similarity is None or self.scale is None:
            return self.colors
        return self.scale.paint(self.similarity)

    def turned(self, lon: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return longitudes in the turn that the map shows: from its west on."""
        west, _, east, _ = self.bounds
        turned: NDArray[np.float64] = np.where((lon >= west) & (lon <= east), lon, (lon - west) % 360 + west)
        return turned

    def shifts(self) -> list[float]:
        """Return the degrees to add to lines in [-180, 180], so that they are in every turn that the map shows."""
        west, _, east, _ = self.bounds
        return [360.0 * turn for turn in range(math.floor((west + 180) / 360), math.ceil((east - 180) / 360) + 1)]

    def pins(self) -> list[Pin]:
        """Return the names of the examples, then the ranks of the answers, as far as there is room for them."""
        named = [example for example in self.examples if example.lon.size]
        lon = np.concatenate([[example.lon[0] for example in named], self.lon[:_MOST_RANKS]])
        lat = np.concatenate([[example.lat[0] for example in named], self.lat[:_MOST_RANKS]])
        texts = [*(example.name for example in named), *map(str, range(1, lon.size - len(named) + 1))]
        west, south, east, north = self.bounds
        lon = self.turned(lon)
        x, y = (lon - west) / (east - west) * self.width, (north - lat) / (north - south) * self.height
        inside = np.flatnonzero((x >= 0) & (x <= self.width) & (y >= 0) & (y <= self.height)).tolist()
        labels = [_label(texts[i], float(x[i]), float(y[i]), is_rank=i >= len(named)) for i in inside]
        stars = [Label(float(x[i]), float(y[i]), _STAR_PIXELS, _STAR_PIXELS) for i in inside if i < len(named)]
        spots = place_labels(labels, self.width, self.height, taken=stars)
        return [
            Pin(texts[i], i >= len(named), float(lon[i]), float(lat[i]), *spot)
            for i, spot in zip(inside, spots, strict=True)
            if spot is not None
        ]


def _label(text: str, x: float, y: float, *, is_rank: bool) -> Label:
    if is_rank:
        return Label(x, y, _PIN_PIXELS + _DIGIT_PIXELS * max(0, len(text) - 2), _PIN_PIXELS, over=True)
    return Label(x, y, _LETTER_PIXELS * len(text), _LINE_PIXELS)


def joined(lines: Iterable[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Return lines as one, (n, 2), with a point of NaN behind each, and wherever one runs along the antimeridian.

    There an outline was cut in two, which nobody needs to see.
    """
    gap = np.full((1, 2), np.nan)
    points: NDArray[np.float64] = np.concatenate([gap, *(part for line in lines for part in (line, gap))])
    at_side = np.abs(points[:, 0]) == 180
    along = np.flatnonzero(at_side[:-1] & at_side[1:]) + 1
    return np.insert(points[1:], along - 1, np.nan, axis=0)


def check_map_path(path: Path) -> None:
    """Raise if a map cannot be written to a file: for its name, its folder, or a library that is not installed.

    Raises
    ------
    OutputError
        If the name ends in none of .png, .svg and .html, or there is no such folder.
    MissingExtraError
        If what draws such a map is not installed.
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
