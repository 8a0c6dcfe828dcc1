"""An atlas served by LanceDB, against our own search: the same questions under filters, recall beside every time.

Takes the folder of an atlas (by default ./atlas, as `make demo` leaves it) and one of its resolutions. The export is a
process of its own. Every question is asked twice, and the second time counts. Recall is against comparing every cell in
NumPy: an answer counts if it is as similar as the k-th.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lancedb
import numpy as np

from common import describe_machine, measured_process
from satclip_index import Atlas, open_atlas
from satclip_index.export.lancedb_tables import table_name
from satclip_index.query.question import Question
from satclip_index.search.search_area import SearchArea
from satclip_index.search.search_rules import SearchRules

ALL = 1_000_000  # more partitions than there are
BOX = (-82.0, -56.0, -34.0, 13.0)  # South America, 7 % of the sphere
SMALL_BOX = (5.0, 45.0, 11.0, 48.0)  # Switzerland, 0.03 %
CONTENDERS = {
    "LanceDB, no index": (None, 0),
    "its index, as it is by default": (0, 0),
    "20 partitions, 1,000 ranked again": (20, 1_000),
    "all partitions, 1,000 ranked again": (ALL, 1_000),
    "all partitions, 10,000 ranked again": (ALL, 10_000),
}


def box_sql(west: float, south: float, east: float, north: float) -> str:
    """Return a box of degrees as a condition."""
    return f"lon BETWEEN {west} AND {east} AND lat BETWEEN {south} AND {north}"


def polygon(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """Return a box of degrees as GeoJSON."""
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


# For each: the SQL of it at a query's place, and the same as our own search takes it.
QUESTIONS: dict[str, tuple[Callable[[float, float], str], dict[str, Any]]] = {
    "anywhere": (lambda lon, lat: "", {"ocean": True}),
    "on land": (lambda lon, lat: "land", {}),
    "on land, in a box of 7 %": (lambda lon, lat: f"land AND {box_sql(*BOX)}", {"bbox": BOX}),
    "in a box of 0.03 %": (lambda lon, lat: box_sql(*SMALL_BOX), {"bbox": SMALL_BOX, "ocean": True}),
    "on land, outside a box": (lambda lon, lat: f"land AND NOT ({box_sql(*BOX)})", {"outside": polygon(*BOX)}),
    "on land, outside 1,000 km": (
        lambda lon, lat: (
            f"land AND sin(radians(lat)) * {np.sin(np.radians(lat))} + cos(radians(lat)) * {np.cos(np.radians(lat))} "
            f"* cos(radians(lon - {lon})) <= {np.cos(1000 / 6371.0088)}"
        ),
        {"exclude": 1000.0},
    ),
}


class Truth:
    """Every cell's place, and its similarity to every query."""

    def __init__(self, atlas: Atlas, res: int, n: int) -> None:
        self.atlas, self.res = atlas, res
        index = atlas.index(res)
        names = ("lon", "lat", "land")
        columns = atlas.cells(res, columns=names).read_all()
        self.lon, self.lat, self.land = (columns[name].to_numpy() for name in names)
        self.cells = index.cells
        rng = np.random.default_rng(0)
        self.rows = rng.choice(np.flatnonzero(self.land), n, replace=False)
        self.queries = atlas.vectors_of(self.cells[self.rows])
        parts = [
            np.from_dlpack(batch["embedding"].flatten()).reshape(len(batch), -1) @ self.queries.T
            for batch in atlas.cells(res, columns=["embedding"])
        ]
        self.similarity = np.concatenate(parts)

    def place(self, i: int) -> tuple[float, float]:
        """Return where a query lies."""
        return float(self.lon[self.rows[i]]), float(self.lat[self.rows[i]])

    def question(self, i: int, k: int, rules: dict[str, Any]) -> Question:
        """Return a query under a filter as our own search takes it."""
        own = SearchRules(
            k=k,
            exclude_within_km=rules.get("exclude", 0.0),
            area=SearchArea.read(None, rules.get("outside"), rules.get("bbox")),
            ocean=rules.get("ocean", False),
        )
        return Question.of(self.place(i), (), self.res, own, self.atlas.manifest.entry(self.res))

    def allowed(self, i: int, rules: dict[str, Any]) -> np.ndarray:
        """Return which cells qualify."""
        allowed = np.ones(self.lon.size, bool) if rules.get("ocean") else self.land.copy()
        if "bbox" in rules:
            allowed &= self._inside(rules["bbox"])
        if "outside" in rules:
            allowed &= ~self._inside(BOX)
        if "exclude" in rules:
            lon, lat = np.radians(self.place(i))
            there = np.radians(self.lat)
            cosine = np.sin(lat) * np.sin(there) + np.cos(lat) * np.cos(there) * np.cos(np.radians(self.lon) - lon)
            allowed &= cosine <= np.cos(rules["exclude"] / 6371.0088)
        return allowed

    def _inside(self, box: tuple[float, float, float, float]) -> np.ndarray:
        west, south, east, north = box
        return (self.lon >= west) & (self.lon <= east) & (self.lat >= south) & (self.lat <= north)

    def recall(self, i: int, k: int, rules: dict[str, Any], found: np.ndarray) -> float:
        """Return which share of the k best was found; what is as similar as the last of them is one of them."""
        alike = self.similarity[:, i]
        best = np.sort(alike[self.allowed(i, rules)])[-k:]
        rows = np.searchsorted(self.cells, found)
        return float((alike[rows] >= best[0] - 1e-6).sum() / best.size)


def ask_ours(truth: Truth, k: int, name: str, i: int) -> np.ndarray:
    """Return the cells that our search finds."""
    question, index = truth.question(i, k, QUESTIONS[name][1]), truth.atlas.index(truth.res)
    found = index.engine.top(question.query(truth.atlas), k, question.to_filter(index))
    return index.cells[found.rows]


def ask_lance(table: Any, truth: Truth, k: int, probes: int | None, ranked: int, name: str, i: int) -> np.ndarray:
    """Return the cells that LanceDB finds."""
    search = table.search(truth.queries[i]).distance_type("dot").select(["cell", "_distance"]).limit(k)
    if condition := QUESTIONS[name][0](*truth.place(i)):
        search = search.where(condition)
    if probes is None:
        search = search.bypass_vector_index()
    elif probes:
        search = search.nprobes(probes).refine_factor(-(-ranked // k))
    return search.to_arrow()["cell"].to_numpy()


def print_row(title: str, truth: Truth, k: int, ask: Callable[[str, int], np.ndarray]) -> None:
    """Print p50, ms, and recall, mean and least, of every query under every filter."""
    answers = []
    for name, (_, rules) in QUESTIONS.items():
        taken, recalls = [], []
        for i in range(len(truth.queries)):
            ask(name, i)  # what it reads is in memory from now on, whoever is asked
            start = time.perf_counter()
            found = ask(name, i)
            taken.append(time.perf_counter() - start)
            recalls.append(truth.recall(i, k, rules, found))
        answers.append(f"{statistics.median(taken) * 1e3:.1f}; {statistics.mean(recalls):.4f}, {min(recalls):.2f}")
    print(f"| {title} | " + " | ".join(answers) + " |", flush=True)


def sizes(folder: Path, rows: int) -> Iterator[tuple[str, float]]:
    """Yield what a table takes, bytes a cell: its rows, and each kind of index."""

    def of(path: Path) -> float:
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / rows

    yield "rows", of(folder / "data")
    for index in lancedb.connect(folder.parent).open_table(folder.stem).list_indices():
        yield f"{index.index_type} of {index.columns[0]}", index.size_bytes / rows
    yield "all", of(folder)


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("atlas", nargs="?", default="atlas")
    parser.add_argument("--res", type=int, default=4)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("-k", type=int, default=100)
    given = parser.parse_args()
    atlas = open_atlas(given.atlas)
    rows = atlas.manifest.entry(given.res).count
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "planet.lance"
        whole, busy, peak = measured_process(
            "export", "lance", where, "--res", given.res, "--atlas", given.atlas, "--quiet"
        )
        print(f"{describe_machine()}, lancedb {lancedb.__version__}\n")
        print("| res | cells | export, s | s of one processor | peak RSS, GB | bytes a cell |")
        print("| --- | --- | --- | --- | --- | --- |")
        found = dict(sizes(where / f"{table_name(given.res)}.lance", rows))
        print(f"| {given.res} | {rows:,} | {whole:.1f} | {busy:.1f} | {peak:.2f} | {found['all']:,.0f} |\n")
        print("Bytes a cell: " + ", ".join(f"{name} {size:,.1f}" for name, size in found.items()) + ".\n")
        table = lancedb.connect(where).open_table(table_name(given.res))
        truth = Truth(atlas, given.res, given.queries)
        print(f"| top {given.k}: p50, ms; recall, mean and least | " + " | ".join(QUESTIONS) + " |")
        print("| --- " * (len(QUESTIONS) + 1) + "|")
        ours = partial(ask_ours, truth, given.k)
        print_row("satclip-index", truth, given.k, ours)
        for name, settings in CONTENDERS.items():
            print_row(name, truth, given.k, partial(ask_lance, table, truth, given.k, *settings))


if __name__ == "__main__":
    main()
