"""What bench_search compares with: FAISS, NumPy and DuckDB over the same vectors, each in a process of its own.

All of them get the vectors in memory, already float32, and are asked one query at a time: FAISS and NumPy with one
thread or all, whichever a trial of each question finds quicker, since on few cores more threads can be slower. What a
question leaves out is a mask over the rows, made for every query and counted: FAISS gets it as an
``IDSelectorBitmap``. "Apart" is no question to them: they are asked for twice as many until enough are left.
"""

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from common import interleaved_seconds
from satclip_index import connect
from satclip_index.geo import sphere
from search_data import (
    BOXED,
    FAR,
    NEAR,
    PLAIN,
    QUESTIONS,
    Asked,
    Built,
    Data,
    Question,
    Rows,
    greedy,
    measure_build,
)

Search = Callable[[NDArray[np.float32], int, NDArray[np.bool_] | None], Rows]

SCANS, SLOW = 20, 5  # queries of those that compare with every row; and where they do so many times, or in SQL
N_LISTS, PROBES = 4096, (64, 1024)
LINKS, EFS = 32, (128, 512)
FETCHED = (1000, 10_000)  # by who filters afterwards
TRIALS = 5  # searches with one thread, and with all, to see which is quicker
FEW = 4  # of fewer than one in so many rows, NumPy gathers the vectors first
PROGRESS_S = 30


def answers(by: str, data: Data, question: Question, n: int, search: Search) -> Iterator[Asked]:
    """Yield how a peer answers a question; and, of one asked in rounds, what the last round alone would take."""
    _take_quicker(lambda: search(data.queries[0], question.k, data.mask(question, 0)))
    whole, last, found = [], [], []
    for i, query in enumerate(data.queries[:n]):
        start = since = time.perf_counter()
        mask = data.mask(question, i)
        masked_s = time.perf_counter() - start
        if question.apart_km:
            most, rows = question.k, np.empty(0, np.int64)
            while rows.size < question.k and most <= 2 * len(data.index):
                since = time.perf_counter()
                rows = search(query, min(most, len(data.index)), mask)
                rows = greedy(rows, data.far_by_points(question.apart_km), question.k)
                most *= 2
        else:
            rows = search(query, question.k, mask)
        end = time.perf_counter()
        whole.append(end - start)
        last.append(end - since + masked_s)
        found.append(rows)
    yield Asked(by, question.name, whole, found)
    if question.apart_km:
        yield Asked(f"{by}, told how many to fetch", question.name, last, found)


def flat(data: Data, kind: str) -> tuple[list[Built], list[Asked]]:
    """Compare with every row by FAISS, in float32 or in half precision."""
    import faiss

    name = "FAISS Flat" if kind == "flat" else "FAISS Flat in fp16"
    vectors, dim = data.vectors, data.vectors.shape[1]

    def build() -> Any:
        index = faiss.IndexFlatIP(dim)
        if kind != "flat":
            index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        index.add(vectors)
        return index

    index, built = measure_build(name, build)
    search, asked = _faiss_search(index, faiss.SearchParameters), []
    for question in QUESTIONS:
        n = SLOW if question.apart_km else SCANS
        asked += answers(name, data, question, n, search)
    return [built], asked


def numpy_scan(data: Data) -> tuple[list[Built], list[Asked]]:
    """Compare with every row by one matrix product; asked for more of the same query, it only picks again."""
    vectors, held = data.vectors, {}

    def compare(query: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> tuple[NDArray[np.float32], Rows | None]:
        if mask is None:
            return vectors @ query, None
        rows = np.flatnonzero(mask)
        return (vectors[rows] @ query if rows.size < mask.size // FEW else (vectors @ query)[rows]), rows

    def search(query: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None) -> Rows:
        if held.get("query") is not query:
            held.update(query=query, compared=compare(query, mask))
        similarity, rows = held["compared"]
        k = min(k, similarity.size)
        best = np.argpartition(similarity, similarity.size - k)[similarity.size - k :]
        best = best[np.argsort(-similarity[best], kind="stable")]
        return best if rows is None else rows[best]

    asked = []
    for question in QUESTIONS:
        n = SLOW if question.apart_km else SCANS
        asked.append(next(answers("NumPy", data, question, n, search)))
    return [], asked


def ivf(data: Data) -> tuple[list[Built], list[Asked]]:
    """Ask FAISS's inverted file over k-means."""
    import faiss

    vectors, dim = data.vectors, data.vectors.shape[1]

    def build() -> Any:
        quantizer = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFFlat(quantizer, dim, N_LISTS, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        return index

    with _progress(f"k-means IVF{N_LISTS}"):
        index, built = measure_build(f"FAISS IVF{N_LISTS}", build)
    asked = []
    for probes in PROBES:
        search = _faiss_search(index, faiss.SearchParametersIVF, nprobe=probes)
        asked += _approximate(f"FAISS IVF{N_LISTS}, nprobe {probes:,}", data, search, FETCHED)
    return [built], asked


def hnsw(data: Data) -> tuple[list[Built], list[Asked]]:
    """Ask FAISS's graph; all rows are added at once, so that it can shuffle their order."""
    import faiss

    vectors, dim = data.vectors, data.vectors.shape[1]

    def build() -> Any:
        index = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.add(vectors)
        return index

    with _progress(f"HNSW{LINKS}"):
        index, built = measure_build(f"FAISS HNSW{LINKS}", build)
    asked = []
    for ef, fetched in [(ef, ()) for ef in EFS] + [(most, (most,)) for most in FETCHED]:  # no more come than efSearch
        search = _faiss_search(index, faiss.SearchParametersHNSW, efSearch=ef)
        asked += _approximate(f"FAISS HNSW{LINKS}, efSearch {ef:,}", data, search, fetched)
    return [built], asked


def duckdb(data: Data) -> tuple[list[Built], list[Asked]]:
    """Ask DuckDB over the atlas's Parquet files, and over a table in memory."""
    connection = connect(data.path)
    dim = data.queries.shape[1]
    columns = f"SELECT cell, lon, lat, embedding FROM cells WHERE res = {data.res}"
    _, built = measure_build(
        "DuckDB, table in memory", lambda: connection.execute(f"CREATE TEMP TABLE held AS {columns}")
    )
    distance = (
        f"2 * {sphere.EARTH_RADIUS_KM} * asin(sqrt(least(1, sin(radians(lat - $lat) / 2) ** 2 + cos(radians(lat)) "
        "* cos(radians($lat)) * sin(radians(lon - $lon) / 2) ** 2)))"
    )
    asked = []
    for source, by in ((f"({columns})", "DuckDB, Parquet"), ("held", "DuckDB, table in memory")):
        for question in (PLAIN, NEAR, FAR, BOXED):
            seconds, found = [], []
            for i in range(-1, min(SLOW, data.rows.size)):  # the first is not counted
                west, south, east, north = data.boxes[i].tolist()
                given: dict[str, Any] = {"query": data.queries[i].tolist()}
                where = "true"
                if question.away_km:
                    where = f"{distance} >= $km"
                    given |= {"lon": float(data.lon[i]), "lat": float(data.lat[i]), "km": question.away_km}
                if question.boxed:
                    across = "(lon >= $west OR lon <= $east - 360)" if east > 180 else "lon BETWEEN $west AND $east"
                    where = f"{across} AND lat BETWEEN $south AND $north"
                    given |= {"west": west, "south": south, "east": east, "north": north}
                start = time.perf_counter()
                cells = connection.execute(
                    f"SELECT cell, array_inner_product(embedding, $query::FLOAT[{dim}]) AS similarity FROM {source} "
                    f"WHERE {where} ORDER BY similarity DESC LIMIT {question.k}",
                    given,
                ).fetchnumpy()["cell"]
                if i >= 0:
                    seconds.append(time.perf_counter() - start)
                    found.append(np.searchsorted(data.index.cells, cells))
            asked.append(Asked(by, question.name, seconds, found))
    return [built], asked


PEERS: dict[str, Callable[[Data], tuple[list[Built], list[Asked]]]] = {
    "flat": lambda data: flat(data, "flat"),
    "fp16": lambda data: flat(data, "fp16"),
    "numpy": numpy_scan,
    "duckdb": duckdb,
    "ivf": ivf,
    "hnsw": hnsw,
}


def measure_peer(name: str, path: Path, res: int, n_queries: int) -> tuple[list[Built], list[Asked]]:
    """Return what a peer needed to be built and to answer; called in a process of its own."""
    return PEERS[name](Data(path, res, n_queries))


def _approximate(by: str, data: Data, search: Search, fetched: tuple[int, ...]) -> Iterator[Asked]:
    """Yield the answers of an index that does not promise all: with a selector, and filtered afterwards."""

    def measured(how: str, question: Question, search: Search) -> Iterator[Asked]:
        return answers(f"{by}, {how}", data, question, data.rows.size, search)

    for question in (PLAIN, NEAR, FAR, BOXED):
        yield from measured("IDSelector", question, search)
    for most, question in itertools.product(fetched, (NEAR, FAR, BOXED)):

        def filtered(query: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None, most: int = most) -> Rows:
            rows = search(query, min(most, len(data.index)), None)
            return rows[mask[rows]][:k]

        yield from measured(f"best {most:,} filtered", question, filtered)


def _take_quicker(work: Callable[[], object]) -> None:
    """Leave FAISS and NumPy with one thread or all, whichever does the work in less time."""

    def trial(threads: int) -> float:
        threadpool_limits(threads)
        return interleaved_seconds(work, rounds=TRIALS)[0]

    threadpool_limits(min((1, os.cpu_count() or 1), key=trial))


def _faiss_search(index: Any, parameters: Any, **settings: int) -> Search:
    """Return the search of a FAISS index."""
    import faiss

    def search(query: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None) -> Rows:
        chosen = {} if mask is None else {"sel": faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))}
        _, rows = index.search(query[None], k, params=parameters(**settings, **chosen))
        return rows[0][rows[0] >= 0]

    return search


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """Say on stderr, every half minute, how long something has taken."""
    done, start = threading.Event(), time.perf_counter()

    def say() -> None:
        while not done.wait(PROGRESS_S):
            print(f"  {what}: {time.perf_counter() - start:,.0f} s", file=sys.stderr, flush=True)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
