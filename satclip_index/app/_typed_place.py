"""Parsing places typed on the page: a city, an H3 cell or lon,lat, but never a file on the server."""

import os
from functools import lru_cache

from ..errors import PlaceError
from ..geo.gazetteer import find_city
from ..geo.places import Place
from ._state import Example

_EXPECTED = "Expected a city, an H3 cell or lon,lat. To search in an area, load a file or draw it."


def place_of(example: Example) -> Place:
    """Return the place of an example, with its weight.

    Raises
    ------
    PlaceError, CoordinateError, InvalidCellError
        If the text is not a place, or names a file.
    """
    place = _parse_place(example.place)
    return place if example.weight == 1 else place.weighted(example.weight)


@lru_cache(maxsize=4096)
def _parse_place(text: str) -> Place:
    """Return a place from text, cached."""
    if "json" in text.lower():
        raise PlaceError(_EXPECTED)
    if "/" in text:
        find_city(text)  # some city names contain a slash; this raises before any access to the disk for others
        if os.path.isfile(text):  # noqa: PTH113 (Path's raises on long names)
            raise PlaceError(_EXPECTED)
    return Place.of(text)
