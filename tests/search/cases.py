"""Trees over smooth, rough and thinned rows, and their answers by brute force."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satclip_index.builder._segments import Segments, write_segment
from satclip_index.encoder.location_encoder import unit_half
from satclip_index.geo import grid
from satclip_index.search.engine import Engine
from satclip_index.search.tree import Tree
from satclip_index.search.vectors import Vectors

from ..oracles import haversine_km, make_encoder, similarity

# name: resolution, encoder, share of cells kept
CASES = {
    "smooth, res 0": (0, {}, None),
    "smooth, res 1": (1, {}, None),
    "smooth, res 2": (2, {}, None),
    "smooth, res 3": (3, {}, None),
    "rough, res 2": (2, {"roughness": 100 / 30, "L": 20}, None),
    "rough, res 3": (3, {"roughness": 100 / 30, "L": 20, "dim": 64}, None),
    "thinned, res 3": (3, {"L": 10}, 0.3),
    "a few rows, res 3": (3, {"L": 10}, 0.001),
    "one dimension, res 2": (2, {"dim": 1}, None),
    "constant, res 2": (2, {"roughness": 0.0}, None),
}


@dataclass(frozen=True)
class Case:
    tree: Tree
    engine: Engine
    cells: np.ndarray
    embedding: np.ndarray
    lon: np.ndarray
    lat: np.ndarray
    land: np.ndarray
    tree_file: Path


def make_case(name, folder):
    """Return a case, by way of its files."""
    res, options, share = CASES[name]
    cells = grid.cells_at(res)
    rng = np.random.default_rng(0)
    if share:
        cells = cells[rng.random(cells.size) < share]
    lon, lat = grid.cell_centers(cells)
    land = rng.random(cells.size) < 0.4
    embedding, _ = unit_half(make_encoder(7, **options).encode(lon, lat))
    list_res = max(0, res - 2)
    write_segment(folder / "segment.safetensors", res, cells, embedding, lon, lat, land)
    segments = Segments([folder / "segment.safetensors"], res, list_res)
    offset = segments.write_index(folder / "index.faiss")
    segments.write_tree(folder / "tree.safetensors")
    tree = Tree.open(folder / "tree.safetensors")
    vectors = Vectors(folder / "index.faiss", offset, tree.starts(list_res), embedding.shape[1])
    return Case(tree, Engine(tree, vectors), cells, embedding, lon, lat, land, folder / "tree.safetensors")


def brute(case, query, *, land_only=False, away=(), ranges=None, apart_km=0.0, k=None, least=-np.inf):
    """Return the rows and similarities by looking at every row; ``away`` holds (lon, lat, km)."""
    alike = similarity(case.embedding, query)
    allowed = case.land.copy() if land_only else np.ones(alike.size, bool)
    for lon, lat, km in away:
        allowed &= haversine_km(case.lon, case.lat, lon, lat) >= km
    if ranges is not None:
        inside = np.zeros(alike.size, bool)
        for start, stop in ranges:
            inside[start:stop] = True
        allowed &= inside
    allowed &= alike >= least
    picked = []
    for row in np.lexsort((np.arange(alike.size), -alike)):
        if k is not None and len(picked) == k:
            break
        if not allowed[row]:
            continue
        picked.append(row)
        if apart_km > 0:
            allowed &= haversine_km(case.lon, case.lat, case.lon[row], case.lat[row]) >= apart_km
    picked = np.array(picked, dtype=np.int64)
    return picked, alike[picked]
