"""Places: a city, an H3 cell, lon,lat or GeoJSON, as one type."""

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..checks import is_whole_number
from ..errors import CoordinateError, PlaceError
from . import grid
from .areas import Area, cells_in
from .coordinates import check_coordinates
from .gazetteer import find_city
from .geojson_shapes import read_shape

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LON_LAT = re.compile(rf"\s*({_NUMBER})\s*[,\s]\s*({_NUMBER})\s*")
_WEIGHTED = re.compile(rf"(.*\S)\s*:\s*({_NUMBER})\s*", re.DOTALL)
_CELL = re.compile(r"\s*(?:0x)?([0-9a-f]{15,16})\s*", re.IGNORECASE)
_FILE_SUFFIXES = (".geojson", ".json")


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A place on Earth: points, one cell, or an area.

    Exactly one of ``points``, ``cell`` and ``area`` is set. ``label`` describes the place, ``note`` lists other matches
    of its name, and ``weight`` is its weight among several examples.
    """

    label: str
    points: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    cell: int | None = None
    area: "BaseGeometry | None" = None
    note: str = ""
    weight: float = 1.0
    _cells: dict[int, grid.Cells] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, value: Any) -> "Place":
        """Return the place that a value describes.

        Parameters
        ----------
        value : Place, str, Path, int, tuple or dict
            A city's name, ``lon,lat``, an H3 cell (text or integer), a GeoJSON file or document, or a pair (lon, lat).
            Text may end in a weight: ``Nairobi:2``.

        Raises
        ------
        PlaceError
            If the value is not a place.
        CoordinateError, InvalidCellError
            If a pair is out of range, or an integer is not a cell.
        """
        if isinstance(value, Place):
            return value
        if isinstance(value, dict):
            return _from_shape("GeoJSON", value)
        if isinstance(value, Path):
            return _from_shape(value.name, value)
        if is_whole_number(value):
            return _from_cell(int(grid.check_cells(int(value))[0]))
        if isinstance(value, tuple | list) and len(value) == 2:
            return _from_point(*value)
        if isinstance(value, str):
            weighted = _WEIGHTED.fullmatch(value)
            return _from_text(weighted[1]).weighted(float(weighted[2])) if weighted else _from_text(value)
        raise PlaceError(
            f"{value!r} is not a place; expected a city, an H3 cell, lon,lat, or a GeoJSON file or document."
        )

    def weighted(self, weight: float) -> "Place":
        """Return the place with another weight, which must be above 0."""
        if not 0 < weight < math.inf:
            raise PlaceError(f"{self.label} has a weight of {weight:g}; expected a number above 0, such as Nairobi:2.")
        return replace(self, weight=weight)

    def cells(self, res: int) -> grid.Cells:
        """Return the cells of the place at a resolution, ascending; at least one.

        A point gives the cell that contains it; a coarser cell gives its descendants, a finer cell its ancestor. An
        area gives the cells whose center is inside, or the cell that contains it if there are none.
        """
        if res not in self._cells:
            self._cells[res] = self._cells_at(res)
        return self._cells[res]

    def _cells_at(self, res: int) -> grid.Cells:
        if self.points is not None:
            return np.unique(grid.cells_of_points(*self.points, res))
        if self.cell is not None:
            cell = np.array([self.cell], dtype=np.uint64)
            if int(grid.cell_res(cell)[0]) >= res:
                return grid.ancestors(cell, res)
            return grid.descendants(cell, res)
        assert self.area is not None
        cells = cells_in(Area(self.area), res)
        if cells.size:
            return cells
        point = self.area.representative_point()
        return grid.cells_of_points(point.x, point.y, res)

    def locations(self, res: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the points of the place, or the centers of its cells, as lon and lat, (n,) degrees."""
        return self.points if self.points is not None else grid.cell_centers(self.cells(res))

    def describe(self, res: int) -> str:
        """Return a one-line description of the place and its cells at a resolution."""
        cells = self.cells(res)
        which = f"cell {grid.cell_to_text(cells[0])}" if cells.size == 1 else f"{cells.size:,} cells of res {res}"
        weight = "" if self.weight == 1 else f", weight {self.weight:g}"
        return f"{self.label}, {which}{weight}{self.note}"


def format_lonlat(lon: float, lat: float) -> str:
    """Return a point as text, such as ``36.82 E 1.29 S``."""
    return f"{abs(lon):.2f} {'W' if lon < 0 else 'E'} {abs(lat):.2f} {'S' if lat < 0 else 'N'}"


def _from_text(text: str) -> Place:
    if pair := _LON_LAT.fullmatch(text):
        return _from_point(float(pair[1]), float(pair[2]))
    if cell := _CELL.fullmatch(text):
        return _from_cell(grid.text_to_cell(cell[1]))
    path = Path(text)
    is_file = os.path.isfile(path)  # noqa: PTH113 (Path's raises on long names)
    if path.suffix.lower() in _FILE_SUFFIXES or ("/" in text and is_file):
        return _from_shape(path.name, path)
    if not text.strip():
        raise PlaceError("A place is empty; expected a city, an H3 cell, lon,lat or a GeoJSON file.")
    city, others = find_city(text)
    note = f" (also: {'; '.join(other.label for other in others[:3])}{'; ...' if others[3:] else ''})" if others else ""
    return _from_point(city.lon, city.lat, f"{city.label}: ", note)


def _from_point(lon: Any, lat: Any, name: str = "", note: str = "") -> Place:
    try:
        points = check_coordinates(lon, lat)
    except CoordinateError:
        raise CoordinateError(
            f"{lon},{lat} is not a place on Earth; expected lon,lat in degrees, lon in [-180, 360] and lat in "
            "[-90, 90]. Are they swapped?"
        ) from None
    if points[0].size != 1:
        raise PlaceError("A pair (lon, lat) must have two numbers.")
    return Place(f"{name}{format_lonlat(points[0][0], points[1][0])}", points=points, note=note)


def _from_cell(cell: int) -> Place:
    lon, lat = grid.cell_centers(np.array([cell], dtype=np.uint64))
    return Place(f"{grid.cell_to_text(cell)}: {format_lonlat(lon[0], lat[0])}", cell=cell)


def _from_shape(name: str, source: Path | dict[str, Any]) -> Place:
    shape = read_shape(source)
    if shape.geom_type == "MultiPoint":
        points = check_coordinates([point.x for point in shape.geoms], [point.y for point in shape.geoms])
        where = format_lonlat(points[0][0], points[1][0]) if points[0].size == 1 else f"{points[0].size} points"
        return Place(f"{name}: {where}", points=points)
    point = shape.representative_point()
    return Place(f"{name}: area around {format_lonlat(point.x, point.y)}", area=shape)


def places_of(value: Any) -> list[Place]:
    """Return the places that a value, or a list of values, describes."""
    several = isinstance(value, list) or (isinstance(value, tuple) and not _is_pair(value))
    return [Place.of(item) for item in (value if several else [value])]


def _is_pair(value: Iterable[Any]) -> bool:
    parts = list(value)
    return len(parts) == 2 and all(isinstance(part, int | float | np.number) for part in parts)
