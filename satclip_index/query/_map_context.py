"""What an answer keeps of its question, so that it can be drawn as a map."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geo import grid
from ..geo.areas import Area
from ..geo.places import Place
from ..maps.map_contents import Example, Line
from ..search.embedding_source import EmbeddingSource


@dataclass(frozen=True, slots=True, eq=False)
class MapContext:
    """The question behind an answer.

    Attributes
    ----------
    atlas : EmbeddingSource
    query : (dim,) float32
        The vector that every cell was compared with.
    res : int
        The resolution that was searched.
    examples : tuple of Example
    areas : tuple of (n, 2) array
        Outlines of the area that was searched.
    land_only : bool
        Whether results are on land only.
    """

    atlas: EmbeddingSource
    query: NDArray[np.float32]
    res: int
    examples: tuple[Example, ...] = ()
    areas: tuple[Line, ...] = ()
    land_only: bool = True


def example_of(place: Place, *, wanted: bool) -> Example:
    """Return a place as a map shows it."""
    name, _, where = place.label.rpartition(": ")
    name = (name or where) if place.weight == 1 else f"{name or where} (weight {place.weight:g})"
    if place.area is not None:
        point = place.area.representative_point()
        lon, lat = np.array([point.x]), np.array([point.y])
        return Example(name, lon, lat, wanted, tuple(Area(place.area).lines()))
    if place.points is not None:
        return Example(name, *place.points, wanted)
    return Example(name, *grid.cell_centers(np.array([place.cell], dtype=np.uint64)), wanted)
