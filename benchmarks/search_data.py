"""What bench_search asks: questions, the rows they are asked about, and their answers by brute force."""

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from satclip_index import open_atlas
from satclip_index.geo import grid, sphere

Rows = NDArray[np.int64]

SEED = 20
ROUGH_W0 = 100.0  # of the first layer; SatCLIP's is 30
BOX_DEGREES, BOX_SINE = 90.0, 0.8  # width of a box, and the difference of its latitudes' sines: a tenth of the Earth
GREEDY_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of each query row; ``boxed`` is within the row's own box of a tenth of the Earth."""

    name: str
    k: int = 100
    away_km: float = 0.0
    apart_km: float = 0.0
    boxed: bool = False


PLAIN = Question("top 100")
NEAR = Question("outside 200 km", away_km=200.0)
FAR = Question("outside 1,000 km", away_km=1000.0)
BOXED = Question("in a box of 10 %", boxed=True)
APART = Question("outside 1,000 km, 300 km apart", away_km=1000.0, apart_km=300.0)
APART_10 = Question("outside 1,000 km, 300 km apart, k = 10", k=10, away_km=1000.0, apart_km=300.0)
QUESTIONS = (PLAIN, NEAR, FAR, BOXED, APART, APART_10)


@dataclass(frozen=True, slots=True)
class Asked:
    """How one searcher answered one question: seconds and rows of each query, and what the tree said it took.

    ``first`` is the seconds of a first round, before the files' pages were in memory.
    """

    by: str
    question: str
    seconds: list[float]
    found: list[Rows]
    compared: list[int] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    scanned: int = 0
    first: list[float] = field(default_factory=list)

    def recall(self, truth: dict[str, list[Rows]]) -> float:
        """Return the mean share of the exact answers that were found."""
        pairs = zip(self.found, truth[self.question], strict=False)  # a slow peer answers the first few queries only
        return float(np.mean([np.isin(exact, found).mean() for found, exact in pairs]))


@dataclass(frozen=True, slots=True)
class Built:
    """What making an index took, and by how much the process grew: at most, and in the end."""

    by: str
    seconds: float
    peak_gb: float
    held_gb: float


class Data:
    """One resolution of an atlas, and queries: seeded random rows on land, each with a box somewhere.

    Peers compare with ``vectors``, float32, all in memory, and mask by ``points``; neither is counted as theirs.
    """

    def __init__(self, path: Path, res: int, n_queries: int) -> None:
        self.path, self.res = path, res
        self.index = open_atlas(path).index(res)
        land = np.flatnonzero(self.index.tree.rows.land)
        rng = np.random.default_rng(SEED)
        self.rows = rng.choice(land, n_queries, replace=n_queries > land.size)
        self.queries = self.index.vectors.of_rows(self.rows)
        self.lon, self.lat = grid.cell_centers(self.index.cells[self.rows])
        west, low = rng.uniform(-180, 180, n_queries), rng.uniform(-1, 1 - BOX_SINE, n_queries)
        sides = west, np.degrees(np.arcsin(low)), west + BOX_DEGREES, np.degrees(np.arcsin(low + BOX_SINE))
        self.boxes = np.stack(sides, axis=1)

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """All stored vectors, (n, dim)."""
        return self.index.vectors.of_rows(np.arange(len(self.index)))

    @cached_property
    def lon_lat(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where all rows are, degrees."""
        return grid.cell_centers(self.index.cells)

    @cached_property
    def points(self) -> NDArray[np.float32]:
        """Unit vectors of all rows, (n, 3): half of float64's bytes, and right to some metres."""
        return self.index.tree.rows.point.astype(np.float32)

    def mask(self, question: Question, i: int) -> NDArray[np.bool_] | None:
        """Return which rows may answer query i, as cheaply as NumPy can; None for all."""
        if question.boxed:
            west, south, east, north = self.boxes[i]
            lon, lat = self.lon_lat
            across = (lon >= west) | (lon <= east - 360) if east > 180 else (lon >= west) & (lon <= east)
            return across & (lat >= south) & (lat <= north)
        if question.away_km:
            return self.points @ self.points[self.rows[i]] < math.cos(question.away_km / sphere.EARTH_RADIUS_KM)
        return None

    def far_by_points(self, km: float) -> Callable[[Rows, Rows], NDArray[np.bool_]]:
        """Return a function that says which rows, (m,), are so far from which others, (j,): (m, j)."""
        cosine = math.cos(km / sphere.EARTH_RADIUS_KM)
        return lambda a, b: self.points[a] @ self.points[b].T < cosine

    def brute_force(self, n_sample: int) -> Iterator[dict[str, Rows]]:
        """Yield, for the first queries, the answer of each question: NumPy in float64, every row, haversines."""
        queries = self.queries[:n_sample].astype(np.float64)
        blocks = np.array_split(np.arange(len(self.index)), max(1, len(self.index) >> 16))
        similarity = np.concatenate(
            [(self.index.vectors.of_rows(block).astype(np.float64) @ queries.T).astype(np.float32) for block in blocks]
        )
        lon, lat = self.lon_lat

        def far(a: Rows, b: Rows, km: float) -> NDArray[np.bool_]:
            return haversine_km(lon[a, None], lat[a, None], lon[b], lat[b]) >= km

        for i in range(n_sample):
            order = np.lexsort((np.arange(len(self.index)), -similarity[:, i]))
            answers = {}
            for question in QUESTIONS:
                allowed = order
                if question.away_km:
                    allowed = order[far(order, self.rows[i : i + 1], question.away_km)[:, 0]]
                if question.boxed:
                    mask = self.mask(question, i)
                    allowed = order[mask[order]]
                if question.apart_km:
                    allowed = greedy(allowed, lambda a, b, km=question.apart_km: far(a, b, km), question.k)
                answers[question.name] = allowed[: question.k]
            yield answers


def greedy(rows: Rows, far: Callable[[Rows, Rows], NDArray[np.bool_]], k: int) -> Rows:
    """Return the first rows, at most k, of which each is far from all before it."""
    kept = np.empty(0, np.int64)
    for start in range(0, rows.size, GREEDY_BLOCK):
        block = rows[start : start + GREEDY_BLOCK]
        block = block[far(block, kept).all(axis=1)]
        while block.size and kept.size < k:
            kept = np.append(kept, block[0])
            block = block[far(block, kept[-1:])[:, 0]]
        if kept.size == k:
            break
    return kept


def haversine_km(lon: Any, lat: Any, to_lon: Any, to_lat: Any) -> NDArray[np.float64]:
    """Return great-circle distances between points in degrees, broadcast."""
    lon, lat, to_lon, to_lat = map(np.radians, (lon, lat, to_lon, to_lat))
    a = np.sin((to_lat - lat) / 2) ** 2 + np.cos(lat) * np.cos(to_lat) * np.sin((to_lon - lon) / 2) ** 2
    return 2 * sphere.EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(a, 1)))


def build_missing(encoder: str, res: int, path: Path) -> None:
    """Build an atlas if there is none: of the bundled encoder, or of ``rough``, a random one."""
    import torch

    from satclip_index import build_atlas
    from satclip_index.encoder.location_encoder import Encoder, Hyperparameters, Siren

    if (path / "manifest.json").is_file():
        made_by = open_atlas(path).manifest.encoder["sha256"]
        if encoder != "rough" and made_by != Encoder.load(encoder).sha256:
            raise ValueError(f"{path} was made by other weights, {made_by[:12]}. Remove it, and it is built again.")
        return
    if encoder != "rough":
        build_atlas(path, encoder=encoder, res=res)
        return
    torch.manual_seed(SEED)
    network = Siren(40 * 40, 256, 2, 256)
    with torch.no_grad():
        network.layers[0].weight.mul_(ROUGH_W0 / network.w0_first)
        network.layers[0].bias.mul_(ROUGH_W0 / network.w0_first)
    build_atlas(path, encoder=Encoder(network, Hyperparameters(40, 256, 2, 256), name="rough"), res=res)


def measure_build(by: str, work: Callable[[], Any]) -> tuple[Any, Built]:
    """Return what some work makes, and what it took; the process should be its own."""
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
    before, start = memory_gb("VmRSS"), time.perf_counter()
    made = work()
    seconds = time.perf_counter() - start
    return made, Built(by, seconds, memory_gb("VmHWM") - before, memory_gb("VmRSS") - before)


def memory_gb(name: str) -> float:
    """Return a figure of /proc/self/status: VmRSS, resident now, or VmHWM, at most."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(f"{name}:"))
