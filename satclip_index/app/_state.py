"""The state of the page: examples, search rules and view; a link can represent it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlencode

from ..checks import check_number, check_whole_number
from ..errors import PlaceError, QueryError, one_line

MOST_EXAMPLES, MOST_PLACES = 50, 200
LONGEST_LINK_AREA = 1500  # characters of GeoJSON: servers and chat programs truncate links longer than a few thousand
_LONGEST_TEXT = {"place": 200, "where": 2000, "table": 200, "within_name": 200}
_FARTHEST_KM = 20_100.0  # half the circumference of the Earth
RULES = {"exclude": "exclude_within_km", "apart": "apart_km", "k": "k", "min": "min_similarity", "res": "res"}
_TEXTS = {"where": "where", "table": "table", "within": "within"}


@dataclass(frozen=True, slots=True)
class Example:
    """A place to be like or unlike, as typed (a city, an H3 cell or lon,lat), and its weight."""

    place: str
    weight: float = 1.0
    unlike: bool = False

    def __post_init__(self) -> None:
        _check_text("place", self.place)
        if not self.place.strip():
            raise PlaceError("A place is empty; expected a city, an H3 cell or lon,lat.")
        if not 0 < self.weight <= 1000:
            raise QueryError(f"{self.place} has a weight of {self.weight:g}; expected a number above 0, at most 1000.")

    @classmethod
    def of(cls, text: str, *, unlike: bool = False) -> Self:
        """Return an example from text: a place with an optional weight, such as ``Nairobi:2``."""
        place, colon, weight = text.strip().rpartition(":")
        try:
            return cls(place.strip(), float(weight), unlike) if colon and place else cls(text.strip(), unlike=unlike)
        except ValueError as error:
            if isinstance(error, QueryError):
                raise
            return cls(text.strip(), unlike=unlike)

    @property
    def text(self) -> str:
        """The place and its weight, as text for :meth:`of`."""
        return self.place if self.weight == 1 else f"{self.place}:{number(self.weight)}"


@dataclass(frozen=True, slots=True)
class View:
    """The visible part of the map: its center, and its width in degrees of longitude."""

    lon: float = 0.0
    lat: float = 0.0
    width: float = 360.0

    def __post_init__(self) -> None:
        if not (-180 <= self.lon <= 180 and -90 <= self.lat <= 90 and 0 < self.width <= 360):
            raise QueryError(
                f"{self.lon:g},{self.lat:g},{self.width:g} is not a view of the Earth; expected lon,lat and a width in "
                "degrees, at most 360."
            )


@dataclass(frozen=True, slots=True)
class State:
    """What to search for, and the view.

    Attributes
    ----------
    examples : tuple of Example
        Examples to be like come first.
    k, res, exclude_within_km, apart_km, min_similarity, ocean :
        As for :meth:`Atlas.like`; default distances are larger, to suit a map of the world.
    within, within_name : str
        GeoJSON of the search area, and the name of its file; no name if it was drawn.
    table, where : str
        Name of an uploaded table, and a condition on its rows.
    view : View
        Visible part of the map; it does not change the results.
    """

    examples: tuple[Example, ...] = ()
    k: int = 10
    res: int | None = None
    exclude_within_km: float = 2000.0
    apart_km: float = 500.0
    min_similarity: float | None = None
    ocean: bool = False
    within: str = ""
    within_name: str = ""
    table: str = ""
    where: str = ""
    view: View = field(default_factory=View)

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", tuple(sorted(self.examples, key=lambda example: example.unlike)))
        if len(self.examples) > MOST_EXAMPLES:
            raise QueryError(f"There are {len(self.examples)} examples; the page takes {MOST_EXAMPLES} at most.")
        check_whole_number("k", self.k, high=MOST_PLACES)
        if self.res is not None:
            check_whole_number("res", self.res, low=0, high=15)
        check_number("exclude", self.exclude_within_km, low=0, high=_FARTHEST_KM)
        check_number("apart", self.apart_km, low=0, high=_FARTHEST_KM)
        if self.min_similarity is not None:
            check_number("min", self.min_similarity, low=-1, high=1)
        for name in ("where", "table", "within_name"):
            _check_text(name, getattr(self, name))

    @property
    def question(self) -> "State":
        """The state without what does not change the results."""
        return replace(self, view=View(), within_name="")

    def like(self) -> list[str]:
        """Return the examples to be like, as text."""
        return [example.text for example in self.examples if not example.unlike]

    def unlike(self) -> list[str]:
        """Return the examples to be unlike, as text."""
        return [example.text for example in self.examples if example.unlike]

    def to_link(self) -> str:
        """Return the query string of a link, such as ``like=Nairobi&exclude=100``, without default values.

        Large areas are left out, and a table is only named: neither fits into a link.
        """
        plain, parts = State(), [("like", text) for text in self.like()]
        parts += [("unlike", text) for text in self.unlike()]
        for key, name in RULES.items():
            value = getattr(self, name)
            if value != getattr(plain, name):
                parts.append((key, number(value)))
        if self.ocean:
            parts.append(("ocean", "1"))
        fits = len(self.within) <= LONGEST_LINK_AREA
        for key, name in _TEXTS.items():
            if (text := getattr(self, name)) and (fits or name != "within"):
                parts.append((key, text))
        if self.view != plain.view:
            parts.append(("at", ",".join(map(number, (self.view.lon, self.view.lat, self.view.width)))))
        return urlencode(parts)

    @classmethod
    def of_link(cls, arguments: Mapping[str, Sequence[str]]) -> Self:
        """Return the state of a parsed query string; unknown keys are ignored.

        Raises
        ------
        QueryError, PlaceError
            If a value is invalid.
        """
        values_of: dict[str, Any] = {}
        for key, name in (RULES | _TEXTS).items():
            if values := arguments.get(key):
                values_of[name] = values[-1] if key in _TEXTS else parse_number(key, values[-1])
        if values := arguments.get("at"):
            sides = [parse_number("at", part) for part in values[-1].split(",")]
            if len(sides) != 3:
                raise QueryError(f"at is {values[-1]!r}; expected lon,lat,width in degrees.")
            values_of["view"] = View(*map(float, sides))
        values_of["ocean"] = bool(arguments.get("ocean")) and arguments["ocean"][-1] not in ("", "0")
        examples = [Example.of(text) for text in arguments.get("like", ())]
        examples += [Example.of(text, unlike=True) for text in arguments.get("unlike", ())]
        return cls(examples=tuple(examples), **values_of)

    def like_options(self) -> dict[str, Any]:
        """Return the options of :meth:`Atlas.like`, except for places and table."""
        return {
            "k": self.k,
            "res": self.res,
            "exclude_within_km": self.exclude_within_km,
            "apart_km": self.apart_km,
            "min_similarity": self.min_similarity,
            "ocean": self.ocean,
            "within": read_area(self.within) if self.within else None,
        }


def read_area(text: str) -> dict[str, Any]:
    """Return parsed GeoJSON, or raise PlaceError; the geometry is checked later."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlaceError(f"The area is not readable GeoJSON ({one_line(error)}).") from None
    if not isinstance(document, dict):
        raise PlaceError("The area is not GeoJSON; expected an object with a type, such as a Polygon or a Feature.")
    return document


def number(value: float) -> str:
    """Return the shortest text for a number."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def parse_number(key: str, text: Any) -> int | float:
    """Return a number from text, as int if it is a whole number, or raise QueryError."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise QueryError(f"{key} is {str(text)[:60]!r}; expected a number.")
    return int(value) if value.is_integer() else value


def _check_text(name: str, text: Any) -> None:
    most = _LONGEST_TEXT[name]
    if not isinstance(text, str) or len(text) > most or not text.isprintable():
        raise QueryError(f"The {name} is invalid; expected one line of at most {most} characters.")
