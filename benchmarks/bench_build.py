"""Building an atlas end to end, beside encoding alone in the same run, and what each stage of it takes.

Each build is a process of its own, so that its peak memory is its own. Takes resolutions as arguments; 3 and 4 by
default; ``--rounds N``, and ``--workers N`` several times to compare numbers of them.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import describe_machine, measured_process
from satclip_index import grid, open_atlas
from satclip_index.assemble import assemble
from satclip_index.encoder import Encoder, unit_half
from satclip_index.land import is_land
from satclip_index.manifest import FileEntry
from satclip_index.search.segment import write_segment
from satclip_index.shards import described, shards_of
from satclip_index.steady import one_thread_each
from satclip_index.store import write_shard


def encode_alone(res: int, workers: int) -> float:
    """Return the seconds that encoding every cell takes, shard by shard, and nothing else."""
    encoder = Encoder.load("bluemarble")
    points = [grid.cell_centers(grid.descendants(shard.roots, res)) for shard in shards_of(res)]
    with one_thread_each(), ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        list(pool.map(lambda point: encoder.encode(*point).shape, points))
        return time.perf_counter() - start


def build(res: int, folder: Path, workers: int) -> tuple[float, float, float]:
    """Return the seconds, the seconds of processors, and the peak memory in GB, of a build."""
    return measured_process("build", "--atlas", folder, "--res", res, "--workers", workers, "--quiet")


def write_as_fast_as_can_be(folder: Path, size: int) -> float:
    """Return the seconds that writing so many bytes to the disk takes, and nothing else."""
    block = os.urandom(1 << 24)
    start = time.perf_counter()
    with (folder / "ballast").open("wb") as file:
        for _ in range(max(1, size // len(block))):
            file.write(block)
        os.fsync(file.fileno())
    elapsed_s = time.perf_counter() - start
    (folder / "ballast").unlink()
    return elapsed_s


def stages(res: int, folder: Path) -> dict[str, float]:
    """Return the seconds of one processor that each stage takes, over every shard."""
    encoder, taken = Encoder.load("bluemarble"), {}

    def timed(name: str, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        result = work(*given, **named)
        taken[name] = taken.get(name, 0.0) + time.perf_counter() - start
        return result

    for name in ("cells", "segments"):
        (folder / f"res={res}" / name).mkdir(parents=True)
    timed("land mask", is_land, *grid.cell_centers(grid.cells_at(0)))
    with one_thread_each():
        for shard in shards_of(res):
            cells = timed("cells", grid.descendants, shard.roots, res)
            lon, lat = timed("centres", grid.cell_centers, cells)
            land = timed("land", is_land, lon, lat)
            embedding, norm = timed("normalise, round", unit_half, timed("encode", encoder.encode, lon, lat))
            columns = {"cells": cells, "lon": lon, "lat": lat, "land": land, "norm": norm, "embedding": embedding}
            parquet, segment = folder / shard.parquet, folder / shard.segment
            timed("Parquet", write_shard, parquet, **columns, described=described(encoder, res))
            timed("codes, nodes", write_segment, segment, res, cells, embedding, lon, lat, land)
            for file in (parquet, segment):
                timed("SHA-256", FileEntry.of, folder, file)
    segments = sorted((folder / f"res={res}" / "segments").iterdir())
    timed("put together", assemble, folder / f"res={res}", res, segments)
    return taken


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("res", nargs="*", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, action="append")
    given = parser.parse_args()
    resolutions, counts = given.res or [3, 4], given.workers or [os.cpu_count() or 1]
    print(describe_machine() + "\n")
    print(
        "| res | cells | workers | build, s | cells/s | encoding alone, s | ratio | processors busy | MB "
        "| MB/s | writing alone, MB/s | peak RSS, GB |"
    )
    print("| --- " * 12 + "|")
    for res in resolutions:
        for workers in counts:
            built, alone = [], []
            for _ in range(given.rounds):
                with tempfile.TemporaryDirectory() as temporary:
                    folder = Path(temporary) / "atlas"
                    built.append(build(res, folder, workers))
                    size = sum(file.size for file in open_atlas(folder).manifest.files)
                    writing = write_as_fast_as_can_be(Path(temporary), size)
                alone.append(encode_alone(res, workers))
            n, (whole, busy, memory) = grid.cell_count(res), map(statistics.median, zip(*built, strict=True))
            encoding = statistics.median(alone)
            print(
                f"| {res} | {n:,} | {workers} | {whole:.1f} | {n / whole:,.0f} | {encoding:.1f} "
                f"| {whole / encoding:.2f}x | {busy / whole:.2f} | {size / 1e6:,.0f} | {size / whole / 1e6:.0f} "
                f"| {size / writing / 1e6:.0f} | {memory:.2f} |",
                flush=True,
            )
    print("\n| stage, s of one processor | " + " | ".join(f"res {res}" for res in resolutions) + " |")
    print("| --- " * (1 + len(resolutions)) + "|")
    columns = []
    for res in resolutions:
        folder = Path(tempfile.mkdtemp())
        columns.append(stages(res, folder))
        shutil.rmtree(folder)
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
