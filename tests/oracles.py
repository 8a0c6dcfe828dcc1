"""What the package computes, computed again in another way."""

import math

import duckdb
import h3
import numpy as np
import shapely
import torch
from scipy.special import sph_harm_y

from satclip_index.encoder.location_encoder import Encoder, Hyperparameters, Siren

EARTH_RADIUS_KM = 6371.0088


def make_encoder(
    seed=0, *, L=6, capacity=32, layers=2, dim=16, roughness=1.0, convention="analytic", dtype=torch.float32
):
    """Return a small random encoder; ``roughness`` scales its first frequency."""
    torch.manual_seed(seed)
    network = Siren(L * L, capacity, layers, dim).to(dtype)
    with torch.no_grad():
        network.layers[0].weight.mul_(roughness)
    return Encoder(network, Hyperparameters(L, capacity, layers, dim, convention), name="tiny")


def harmonics(lon, lat, L, convention="analytic"):
    """Return (n, L * L) features from scipy and the table of SATCLIP.md."""
    columns = []
    for l in range(L):  # noqa: E741
        for m in range(-l, l + 1):
            y = sph_harm_y(l, abs(m), np.radians(90 - np.asarray(lat)), np.radians(np.asarray(lon)))
            if m == 0:
                column = (-1) ** l * y.real * (math.pi if convention == "analytic" else 1)
            else:
                column = (-1) ** l * math.sqrt(2) * (y.real if m > 0 else y.imag)
                if convention == "analytic":
                    column = column * (-1) ** abs(m)
            columns.append(column)
    return np.stack(columns, axis=1)


def siren(features, weights, layers):
    """Return the raw float64 embedding, from a state dictionary as NumPy arrays."""
    x, w0 = features, 30.0
    for i in range(layers):
        x = np.sin(w0 * (x @ weights[f"layers.{i}.weight"].T + weights[f"layers.{i}.bias"]))
        w0 = 1.0
    return x @ weights["last_layer.weight"].T + weights["last_layer.bias"]


def weights_of(encoder):
    return {key: tensor.double().numpy() for key, tensor in encoder.network.state_dict().items()}


def embed(encoder, lon, lat):
    """Return what ``Encoder.encode`` should give, in float64."""
    p = encoder.hyperparameters
    features = harmonics(lon, lat, p.legendre_polys, p.harmonics_calculation)
    return siren(features, weights_of(encoder), p.num_hidden_layers)


def haversine_km(lon, lat, to_lon, to_lat):
    """Return the great-circle distance by the haversine, broadcast."""
    lon, lat, to_lon, to_lat = (np.radians(np.asarray(v, dtype=np.float64)) for v in (lon, lat, to_lon, to_lat))
    a = np.sin((to_lat - lat) / 2) ** 2 + np.cos(lat) * np.cos(to_lat) * np.sin((to_lon - lon) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(a, 1)))


def area_km2(shape):
    """Return the area on the sphere of polygons whose edges are straight on the plane: sin(lat) over their rings."""
    total = 0.0
    for polygon in getattr(shape, "geoms", [shape]):
        for ring in (polygon.exterior, *polygon.interiors):
            lon, lat = np.radians(shapely.get_coordinates(ring)).T
            rise = np.diff(lat)
            level = np.abs(rise) < 1e-4  # there the quotient would lose its digits
            slanted = -np.diff(np.cos(lat)) / np.where(level, 1, rise)
            total -= (np.where(level, np.sin((lat[:-1] + lat[1:]) / 2), slanted) * np.diff(lon)).sum()
    return total * 6371.007180918475**2


def stored(atlas, res):
    """Return every column of a resolution, as DuckDB reads the Parquet files."""
    files = sorted(map(str, (atlas.path / f"res={res}" / "cells").glob("*.parquet")))
    columns = (
        duckdb.connect().execute("SELECT * FROM read_parquet($1, hive_partitioning = false)", [files]).fetchnumpy()
    )
    columns = {name: np.asarray(values) for name, values in columns.items()}
    columns["embedding"] = np.stack([np.asarray(vector, np.float32) for vector in columns["embedding"]])
    return columns


def all_cells(res):
    """Return every cell of a resolution, ascending, by h3-py's string functions."""
    found = (h3.cell_to_children(base, res) for base in h3.get_res0_cells())
    return np.sort(np.array([int(cell, 16) for cells in found for cell in cells], dtype=np.uint64))


def similarity(vectors, query):
    """Return similarities as they are defined: summed in float64, rounded to float32."""
    return (vectors.astype(np.float64) @ np.asarray(query, np.float32).astype(np.float64)).astype(np.float32)


def unit32(vector):
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def brute_like(columns, query, examples, *, k, exclude, apart, ocean):
    """Return the rows and similarities of ``like`` by looking at every row.

    ``examples`` is lon, lat of the places; ``columns`` come from :func:`stored`.
    """
    alike = similarity(columns["embedding"], query)
    allowed = np.ones(alike.size, bool) if ocean else columns["land"].astype(bool)
    for lon, lat in zip(*examples, strict=True):
        allowed &= haversine_km(columns["lon"], columns["lat"], lon, lat) >= exclude if exclude > 0 else True
    rows = []
    for row in np.lexsort((np.arange(alike.size), -alike)):
        if len(rows) == k:
            break
        if not allowed[row]:
            continue
        near = apart > 0 and any(
            haversine_km(columns["lon"][row], columns["lat"][row], columns["lon"][r], columns["lat"][r]) < apart
            for r in rows
        )
        if not near:
            rows.append(row)
    rows = np.array(rows, dtype=np.int64)
    return rows, alike[rows]


GEOMETRIES = [
    {"L": 1, "capacity": 8, "layers": 1, "dim": 3},
    {"L": 6, "capacity": 32, "layers": 2, "dim": 16},
    {"L": 10, "capacity": 24, "layers": 4, "dim": 7},
    {"L": 40, "capacity": 16, "layers": 2, "dim": 8},
]
