"""Exact search elsewhere on Earth, beside FAISS, NumPy and DuckDB over the same vectors in the same run.

For every encoder and resolution: how long a question takes and how many rows it looks at, how long an index takes to
build and what memory it needs, and how many queries a second a k-NN of many cells answers. ``rough`` is a random
encoder with a first layer of w0 = 100: what a smoother one gives the tree for nothing, it does not. Each contender is a
process of its own, one after the other. Our answers are checked against NumPy in float64, and are what recall is of.

    python benchmarks/bench_search.py [--res 4 --res 5] [--encoder bluemarble --encoder rough] [--queries 200]
        [--peers flat,fp16,numpy,duckdb,ivf,hnsw] [--hnsw-res 4 --hnsw-res 5] [--folder DIR]

Atlases are ``DIR/ENCODER-RES``, built when not there; a link to one that holds the resolution will do.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from common import describe_machine
from satclip_index import open_atlas
from satclip_index.builder._segments import Segments, write_segment
from satclip_index.geo import grid, sphere
from satclip_index.geo.areas import Box
from satclip_index.search.engine import Filter, Hits
from satclip_index.search.faiss_index import import_faiss, verified_search
from satclip_index.search.geo_filters import disks, rows_in
from search_data import (
    APART,
    BOXED,
    FAR,
    PLAIN,
    QUESTIONS,
    Asked,
    Built,
    Data,
    Question,
    Rows,
    build_missing,
    measure_build,
    memory_gb,
)
from search_peers import PEERS, SCANS, SLOW, measure_peer

OURS = "satclip-index"
SAMPLE = 10  # queries whose answers are checked
BULK, BULK_K = 2048, (10, 100)
UNUSUAL_RES = 4
ADJACENT = 4096  # cells whose neighbours' similarity says how rough an encoder is


def ask(data: Data, question: Question, i: int) -> Hits:
    """Return our answer; what the filter takes to be made is part of it."""
    away = disks(data.lon[i : i + 1], data.lat[i : i + 1], question.away_km) if question.away_km else None
    ranges = rows_in(data.index.tree, Box(*data.boxes[i])) if question.boxed else None
    where = Filter(away=away, ranges=ranges, apart_rad=question.apart_km / sphere.EARTH_RADIUS_KM)
    return data.index.engine.top(data.queries[i], question.k, where)


def measure_ours(path: Path, res: int, n_queries: int) -> tuple[list[Asked], float, int, int]:
    """Return our answers, by how many GB the process grew for them, and how many of how many checked are right."""
    from satclip_index.search import _search_kernels  # noqa: F401 (numba, whose memory is not the index's)

    before = memory_gb("VmRSS")
    data = Data(path, res, n_queries)
    for question, i in itertools.product(QUESTIONS, range(min(3, n_queries))):
        ask(data, question, i)
    asked = []
    for question in QUESTIONS:
        seconds, answers, first = [], [], []
        for i in range(n_queries):  # once, so that the pages of the files are there, as a peer's memory is
            start = time.perf_counter()
            ask(data, question, i)
            first.append(time.perf_counter() - start)
        for i in range(n_queries):
            start = time.perf_counter()
            answers.append(ask(data, question, i))
            seconds.append(time.perf_counter() - start)
        compared, opened = [a.compared for a in answers], [a.opened for a in answers]
        scanned = sum(a.scanned for a in answers)
        asked.append(Asked(OURS, question.name, seconds, [a.rows for a in answers], compared, opened, scanned, first))
    held = memory_gb("VmRSS") - before
    compiling = []
    for box in data.boxes:
        start = time.perf_counter()
        rows_in(data.index.tree, Box(*box))
        compiling.append(time.perf_counter() - start)
    asked.append(Asked(f"{OURS}, the box's ranges alone", BOXED.name, compiling, []))
    right, checked = 0, min(SAMPLE, n_queries)
    for i, exact in enumerate(data.brute_force(checked)):
        right += sum(np.array_equal(a.found[i], exact[a.question]) for a in asked if a.by == OURS)
    return asked, held, right, checked * len(QUESTIONS)


def measure_our_build(path: Path, res: int, folder: Path) -> Built:
    """Return what tree and index take to be made from vectors in memory and written, shard by shard as in a build."""
    data = Data(path, res, 1)
    vectors, (lon, lat), land = data.vectors, data.lon_lat, data.index.tree.rows.land.astype(bool)
    cells, list_res = data.index.cells.copy(), open_atlas(path).manifest.entry(res).list_res
    sizes = [grid.descendants(roots, res).size for roots in grid.shard_roots(res)]
    ends = np.cumsum(sizes).tolist()
    assert ends[-1] == cells.size, "an atlas of land only is not what this measures"

    def build() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            segments = [Path(temporary) / f"{number}.safetensors" for number in range(len(sizes))]
            for segment, (start, stop) in zip(segments, itertools.pairwise([0, *ends]), strict=True):
                shard = slice(start, stop)
                write_segment(segment, res, cells[shard], vectors[shard], lon[shard], lat[shard], land[shard])
            whole = Segments(segments, res, list_res)
            whole.write_tree(Path(temporary) / "tree.safetensors")
            whole.write_index(Path(temporary) / "index.faiss")

    return measure_build(OURS, build)[1]


def compare_on_cpu(queries: np.ndarray, block: np.ndarray, most: int) -> Any:
    """Return the similarity and the position of the rows of a block that are most similar to each query."""
    faiss = import_faiss()
    return faiss.knn(queries, block, most, metric=faiss.METRIC_INNER_PRODUCT)


def measure_bulk(path: Path, res: int) -> list[str]:
    """Return rows of a table: queries a second by the tree and by FAISS, and how many of their answers agree."""
    atlas = open_atlas(path)
    index = atlas.index(res)
    n = min(BULK, len(index))
    scattered = np.sort(np.random.default_rng(0).choice(len(index), n, replace=False))
    start_row = (len(index) - n) // 2
    atlas.neighbors(index.cells[:8], 10, res=res)  # compiled
    lines = []
    for name, rows in (("scattered", scattered), ("adjoining", np.arange(start_row, start_row + n))):
        queries = index.vectors.of_rows(rows)
        for k in BULK_K:
            start = time.perf_counter()
            tree = atlas.neighbors(index.cells[rows], k, res=res)
            tree_s = time.perf_counter() - start
            start = time.perf_counter()
            found, _ = verified_search(index, queries, k, compare_on_cpu, np.float32)
            faiss_s = time.perf_counter() - start
            same = int((index.cells[found] == tree.neighbor).all(axis=1).sum())
            lines.append(
                f"| {n:,} {name} | {k} | {n / tree_s:,.0f} | {n / faiss_s:,.0f} | {faiss_s / tree_s:.1f}x "
                f"| {same:,} of {n:,} |"
            )
    return lines


def measure_unusual(path: Path) -> tuple[float, int]:
    """Return the seconds of the most unusual land cells, and how many cells were compared."""
    atlas = open_atlas(path)
    atlas.neighbors(atlas.index(UNUSUAL_RES).cells[:8], 1, res=UNUSUAL_RES)
    start = time.perf_counter()
    found = atlas.unusual(res=UNUSUAL_RES)
    return time.perf_counter() - start, found.query["compared_cells"]


def roughness(path: Path, res: int) -> str:
    """Return how alike cells are that share an edge, and random ones."""
    index = open_atlas(path).index(res)
    rng = np.random.default_rng(0)
    middle = int(rng.integers(len(index) // 2))
    rows = np.arange(middle, min(middle + ADJACENT, len(index)))
    a, b = grid.adjacent_pairs(index.cells[rows])
    vectors = index.vectors.of_rows(rows)
    sample = index.vectors.of_rows(rng.choice(len(index), 2048))
    beside, anywhere = np.median((vectors[a] * vectors[b]).sum(axis=1)), np.median(sample[::2] @ sample[1::2].T)
    return f"median similarity of adjacent cells {beside:.4f}, of random ones {anywhere:.2f}"


def show_ours(asked: list[Asked], n_rows: int, checked: str) -> None:
    """Print what our answers took."""
    print("| question | p50, ms | p99, ms | p50 at first | rows compared, median | most | nodes opened | scans |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for a in asked:
        p50, p99 = np.percentile(a.seconds, [50, 99]) * 1e3
        looked = "- | - | - | - | -"
        if a.compared:
            half, most = statistics.median(a.compared), max(a.compared)
            share = f"{100 * half / n_rows:.2f} %"
            looked = f"{np.median(a.first) * 1e3:,.2f} | {half:,.0f} ({share}) "
            looked += f"| {most:,} ({100 * most / n_rows:.2f} %) | {statistics.median(a.opened):,.0f} "
            looked += f"| {a.scanned} of {len(a.seconds)}"
        name = a.question if a.by == OURS else f"{a.question}: {a.by}"
        print(f"| {name} | {p50:,.2f} | {p99:,.2f} | {looked} |")
    print(f"\nExact: {checked} answers are those of NumPy in float64, in the same order.\n")


def show_peers(asked: list[Asked], truth: dict[str, list[Rows]], right: float, *, exact: bool) -> None:
    """Print the peers that compare with every row: p50 and how many of ours it is; or the others: p50 and recall.

    ``right`` is the share of our answers that NumPy was found to agree with.
    """
    questions = [q for q in QUESTIONS if exact or not q.apart_km]
    print(f"| p50, {'ms, and over ours' if exact else 'ms, and recall'} | {' | '.join(q.name for q in questions)} |")
    print("| --- |" + " --- |" * len(questions))
    ours = {a.question: a for a in asked if a.by == OURS}
    shown = [
        f"{statistics.median(ours[q.name].seconds) * 1e3:,.2f}{'' if exact else f', {right:.3f}'}" for q in questions
    ]
    print(f"| {OURS} | {' | '.join(shown)} |")
    for by in dict.fromkeys(a.by for a in asked if not a.by.startswith(OURS) and exact != is_approximate(a)):
        by_question = {a.question: a for a in asked if a.by == by}
        shown = []
        for question in questions:
            if a := by_question.get(question.name):
                p50 = statistics.median(a.seconds) * 1e3
                what = f"{over_ours(asked, a):,.1f}x" if exact else f"{a.recall(truth):.3f}"
                shown.append(f"{p50:,.2f}, {what}")
            else:
                shown.append("-")
        print(f"| {by} | {' | '.join(shown)} |")
    if exact:
        recalls = [a.recall(truth) for a in asked if a.by != OURS and a.found and not is_approximate(a)]
        print(f"\nThe least mean recall of these is {min(recalls, default=1):.4f}.")
    print()


def is_approximate(asked: Asked) -> bool:
    """Return whether a peer does not promise to find all."""
    return "IVF" in asked.by or "HNSW" in asked.by


def over_ours(asked: list[Asked], peer: Asked) -> float:
    """Return the median of a peer over ours, of those queries that the peer was asked."""
    ours = next(a for a in asked if a.by == OURS and a.question == peer.question)
    return statistics.median(peer.seconds) / statistics.median(ours.seconds[: len(peer.seconds)])


def show_built(built: list[Built], held_gb: float) -> None:
    """Print what each index took to be built."""
    ours = next(b for b in built if b.by == OURS)
    print("| index | build, s | over ours | peak of the build, GB | held while asked, GB |")
    print("| --- | --- | --- | --- | --- |")
    for b in (replace(ours, held_gb=held_gb), *(b for b in built if b is not ours)):
        ratio = b.seconds / ours.seconds
        print(f"| {b.by} | {b.seconds:,.1f} | {ratio:,.1f}x | {b.peak_gb:.2f} | {b.held_gb:.2f} |")
    print()


def show_goals(asked: list[Asked], built: list[Built]) -> None:
    """Print what was reached of DESIGN.md's numbers; its rival is FAISS Flat, and the others are there to be fair."""
    by_name = {b.by: b.seconds for b in built}
    print("| goal (at res 5) | against | reached |\n| --- | --- | --- |")
    for question, goal in ((PLAIN, "150x"), (FAR, "-"), (APART, "100x")):
        for a in asked:
            if a.question == question.name and a.by in ("FAISS Flat", "FAISS Flat in fp16", "NumPy"):
                print(f"| {question.name}, p50: {goal} | {a.by} | {over_ours(asked, a):,.0f}x |")
    for rival, goal in (("FAISS HNSW32", "10x"), ("FAISS IVF4096", "20x")):
        if rival in by_name:
            print(f"| index build: {goal} | {rival} | {by_name[rival] / by_name[OURS]:,.1f}x |")
    print()


def measure(encoder: str, res: int, given: argparse.Namespace) -> None:
    """Print everything about one encoder at one resolution."""
    path = given.folder / f"{encoder}-{res}"
    alone(build_missing, encoder, res, path)
    manifest = open_atlas(path).manifest
    n_rows, weights = manifest.entry(res).count, manifest.encoder["sha256"][:12]
    print(
        f"### {encoder} ({weights}), res {res}: {n_rows:,} cells\n\nHow rough: {alone(roughness, path, res)}.\n",
        flush=True,
    )
    asked, held_gb, right, checked = alone(measure_ours, path, res, given.queries)
    show_ours(asked, n_rows, f"{right} of {checked}")
    truth = {a.question: a.found for a in asked if a.by == OURS}
    built = [alone(measure_our_build, path, res, given.folder)]
    for peer in given.peers:
        if peer != "hnsw" or res in (given.hnsw_res or given.res):
            more_built, more_asked = alone(measure_peer, peer, path, res, given.queries)
            built, asked = built + more_built, asked + more_asked
    show_peers(asked, truth, right / checked, exact=True)
    show_peers(asked, truth, right / checked, exact=False)
    show_built(built, held_gb)
    show_goals(asked, built)
    print("| cells | k | tree, queries/s | FAISS, queries/s | tree over FAISS | same answer |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(alone(measure_bulk, path, res)) + "\n")
    if res == UNUSUAL_RES:
        seconds, compared = alone(measure_unusual, path)
        print(f"`Atlas.unusual` at res {res}: {seconds:.1f} s for {compared:,} land cells.\n", flush=True)


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what some work gives in a process of its own, so that its memory and its threads are its own."""
    shown = " ".join(map(str, arguments))
    print(f"{time.strftime('%H:%M:%S')} {work.__name__} {shown}", file=sys.stderr, flush=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser()
    several = partial(parser.add_argument, action="append")
    several("--res", type=int, help="4 and 5 by default")
    several("--encoder", help="bluemarble and rough by default")
    several("--hnsw-res", type=int, help="where HNSW, which takes long, is built; all by default")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--peers", type=lambda names: names.split(","), default=list(PEERS))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "satclip-index-bench")
    given = parser.parse_args()
    given.res, given.encoder = given.res or [4, 5], given.encoder or ["bluemarble", "rough"]
    if unknown := set(given.peers) - set(PEERS):
        parser.error(f"{', '.join(unknown)}: expected some of {', '.join(PEERS)}")
    given.folder.mkdir(parents=True, exist_ok=True)
    print(f"{describe_machine()}, duckdb {metadata.version('duckdb')}; load {os.getloadavg()[0]:.1f} at the start\n")
    print(
        f"One query at a time: {given.queries} of ours, IVF and HNSW, the first {SCANS} of them of Flat and NumPy, "
        f"{SLOW} of DuckDB and where answers are apart. Ours has one thread; FAISS and NumPy one or all, what is "
        "quicker. Ratios are of medians over the same queries. Masks and filters are part of every time.\n"
    )
    for encoder in given.encoder:
        for res in given.res:
            measure(encoder, res, given)


if __name__ == "__main__":
    main()
