"""The area that a search is restricted to: inside some polygons, outside others, and in a bounding box."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import PlaceError, QueryError
from ..geo.areas import Area, Box
from ..geo.geojson_shapes import read_shape
from .engine import Ranges
from .geo_filters import complement, rows_in, union
from .index import Index


@dataclass(frozen=True, slots=True)
class SearchArea:
    """Where results may be; without arguments, anywhere on Earth.

    Attributes
    ----------
    within : tuple of Area
        Results are inside at least one of these.
    outside : tuple of Area
        Results are inside none of these.
    bbox : Box or None
        Results are inside this bounding box.
    description : tuple of (str, value)
        The areas as they were given, ready for JSON.
    """

    within: tuple[Area, ...] = ()
    outside: tuple[Area, ...] = ()
    bbox: Box | None = None
    description: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def read(cls, within: Any = None, outside: Any = None, bbox: Sequence[float | str] | str | None = None) -> Self:
        """Return the area described by GeoJSON and a bounding box.

        Parameters
        ----------
        within, outside : str, Path, dict, or a list of these, optional
            GeoJSON files or documents of polygons.
        bbox : (west, south, east, north) or "W,S,E,N", optional
            Degrees.

        Raises
        ------
        PlaceError
            If a GeoJSON cannot be read, or is not made of polygons.
        QueryError, CoordinateError
            If ``bbox`` is not a box.
        """
        description: dict[str, Any] = {}
        areas = {}
        for name, given in (("within", within), ("outside", outside)):
            sources = [] if given is None else given if isinstance(given, list | tuple) else [given]
            areas[name] = tuple(_read_area(source) for source in sources)
            if sources:
                description[name] = [source if isinstance(source, dict) else str(source) for source in sources]
        box = None
        if bbox is not None:
            sides = bbox.split(",") if isinstance(bbox, str) else list(bbox)
            try:
                west, south, east, north = map(float, sides)
            except (TypeError, ValueError):
                raise QueryError(f"bbox is {bbox!r}; expected W,S,E,N, four numbers of degrees.") from None
            box = Box(west, south, east, north)
            description["bbox"] = [west, south, east, north]
        return cls(areas["within"], areas["outside"], box, tuple(description.items()))

    def __bool__(self) -> bool:
        return bool(self.within or self.outside or self.bbox)

    def contains(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether each point, (n,) degrees, is in the area."""
        inside = np.full(lon.size, not self.within)
        for area in self.within:
            inside |= area.holds(lon, lat)
        for area in self.outside:
            inside &= ~area.holds(lon, lat)
        return inside & self.bbox.holds(lon, lat) if self.bbox else inside

    def row_ranges(self, index: Index) -> list[Ranges]:
        """Return ranges of rows; the rows in the area are those in every one of them."""
        ranges = [union(*(rows_in(index.tree, area) for area in self.within))] if self.within else []
        ranges += [complement(rows_in(index.tree, area), len(index)) for area in self.outside]
        return ranges + ([rows_in(index.tree, self.bbox)] if self.bbox else [])

    def outlines(self) -> tuple[NDArray[np.float64], ...]:
        """Return the outlines of all polygons and of the box, (n, 2) degrees each."""
        lines = [line for area in (*self.within, *self.outside) for line in area.lines()]
        return (*lines, *(self.bbox.lines() if self.bbox else ()))


EVERYWHERE = SearchArea()


def _read_area(source: Any) -> Area:
    shape = read_shape(source if isinstance(source, dict) else Path(source))
    if shape.geom_type == "MultiPoint":
        name = "The GeoJSON" if isinstance(source, dict) else source
        raise PlaceError(f"{name} holds points; an area to search in or out of must be polygons.")
    return Area(shape)
