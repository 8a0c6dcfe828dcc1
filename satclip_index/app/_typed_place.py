"""What may be typed as a place: a city, a cell or lon,lat; never a file of the machine that serves the page."""

import os
from functools import lru_cache

from ..errors import PlaceError
from ..geo.gazetteer import find_city
from ..geo.places import Place
from ._state import Example

_WHAT_ELSE = "A place is a city, an H3 cell or lon,lat here; an area to search in can be loaded or drawn."


def place_of(example: Example) -> Place:
    """Return the place that an example stands for, with its weight.

    Raises
    ------
    PlaceError, CoordinateError, InvalidCellError
        If it stands for none, or for a file.
    """
    place = _found(example.place)
    return place if example.weight == 1 else place.weighted(example.weight)


@lru_cache(maxsize=4096)
def _found(text: str) -> Place:
    """Return a place; a city's name is looked up once."""
    if "json" in text.lower():
        raise PlaceError(_WHAT_ELSE)
    if "/" in text:
        find_city(text)  # some cities' names have one; what is no city is not looked for on the disk
        if os.path.isfile(text):  # noqa: PTH113 (Path's raises on long names)
            raise PlaceError(_WHAT_ELSE)
    return Place.of(text)
