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

import torch

from common import describe_machine, measured_process
from satclip_index import open_atlas
from satclip_index.builder._assemble import assemble
from satclip_index.builder._segments import write_segment
from satclip_index.builder._shards import described, shards_of
from satclip_index.encoder.cell_encoder import CellEncoder
from satclip_index.encoder.deterministic import single_threaded
from satclip_index.encoder.location_encoder import Encoder, Hyperparameters, Siren, unit_half
from satclip_index.geo import grid
from satclip_index.geo.land_mask import is_land
from satclip_index.storage.cell_files import write_shard
from satclip_index.storage.manifest import FileEntry

RANDOM_L40 = "random-L40"  # of the released geometry: what encoding costs does not depend on the weights


def encode_alone(encoder: Encoder, res: int, workers: int, *, by_cells: bool) -> float:
    """Return the seconds that encoding every cell takes, shard by shard, and nothing else."""
    cells = [grid.descendants(shard.roots, res) for shard in shards_of(res)]
    shards = [(some, *grid.cell_centers(some)) for some in cells]
    work = CellEncoder(encoder).encode if by_cells else lambda _, lon, lat: encoder.encode(lon, lat)
    with single_threaded(), ThreadPoolExecutor(workers) as pool:
        start = time.perf_counter()
        list(pool.map(lambda shard: work(*shard).shape, shards))
        return time.perf_counter() - start


def build(encoder: Path, res: int, folder: Path, workers: int) -> tuple[float, float, float]:
    """Return the seconds, the seconds of processors, and the peak memory in GB, of a build."""
    options = ["--encoder", encoder, "--res", res, "--workers", workers]
    return measured_process("build", "--atlas", folder, *options, "--quiet")


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


def stages(encoder: Encoder, res: int, folder: Path) -> dict[str, float]:
    """Return the seconds of one processor that each stage takes, over every shard."""
    encode, taken = CellEncoder(encoder).encode, {}

    def timed(name: str, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        result = work(*given, **named)
        taken[name] = taken.get(name, 0.0) + time.perf_counter() - start
        return result

    for name in ("cells", "segments"):
        (folder / f"res={res}" / name).mkdir(parents=True)
    timed("land mask", is_land, *grid.cell_centers(grid.cells_at(0)))
    with single_threaded():
        for shard in shards_of(res):
            cells = timed("cells", grid.descendants, shard.roots, res)
            lon, lat = timed("centres", grid.cell_centers, cells)
            land = timed("land", is_land, lon, lat)
            embedding, norm = timed("normalise, round", unit_half, timed("encode", encode, cells, lon, lat))
            columns = {"cells": cells, "lon": lon, "lat": lat, "land": land, "norm": norm, "embedding": embedding}
            parquet, segment = folder / shard.parquet, folder / shard.segment
            timed("Parquet", write_shard, parquet, **columns, described=described(encoder, res))
            timed("codes, nodes", write_segment, segment, res, cells, embedding, lon, lat, land)
            for file in (parquet, segment):
                timed("SHA-256", FileEntry.of, folder, file)
    segments = sorted((folder / f"res={res}" / "segments").iterdir())
    timed("put together", assemble, folder / f"res={res}", res, segments)
    return taken


def encoder_of(name: str, folder: Path) -> tuple[Encoder, Path]:
    """Return an encoder, and the file that a build is given."""
    if name != RANDOM_L40:
        return Encoder.load(name), Path(name)
    torch.manual_seed(0)
    encoder = Encoder(Siren(1600, 512, 2, 256), Hyperparameters(40, 512, 2, 256), name=RANDOM_L40)
    encoder.save(folder / f"{RANDOM_L40}.safetensors")
    return encoder, folder / f"{RANDOM_L40}.safetensors"


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("res", nargs="*", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--encoder", default="bluemarble", help=f"what build takes, or {RANDOM_L40}")
    parser.add_argument("--only-build", action="store_true", help="neither encoding alone nor the stages")
    given = parser.parse_args()
    scratch = tempfile.TemporaryDirectory()
    encoder, file = encoder_of(given.encoder, Path(scratch.name))
    resolutions, counts = given.res or [3, 4], given.workers or [os.cpu_count() or 1]
    print(describe_machine() + "\n")
    print(
        f"| {encoder.name}, res | cells | workers | build, s | cells/s | encoding alone, s | ratio "
        "| encoding one by one, s | ratio | processors busy | MB | MB/s | writing alone, MB/s | peak RSS, GB |"
    )
    print("| --- " * 14 + "|")
    for res in resolutions:
        for workers in counts:
            built, alone, one_by_one = [], [], []
            for _ in range(given.rounds):
                with tempfile.TemporaryDirectory() as temporary:
                    folder = Path(temporary) / "atlas"
                    built.append(build(file, res, folder, workers))
                    size = sum(file.size for file in open_atlas(folder).manifest.files)
                    writing = write_as_fast_as_can_be(Path(temporary), size)
                for seconds, by_cells in () if given.only_build else ((alone, True), (one_by_one, False)):
                    seconds.append(encode_alone(encoder, res, workers, by_cells=by_cells))
            n, (whole, busy, memory) = grid.cell_count(res), map(statistics.median, zip(*built, strict=True))
            beside = " | ".join(
                f"{statistics.median(seconds):.1f} | {whole / statistics.median(seconds):.2f}x" if seconds else "- | -"
                for seconds in (alone, one_by_one)
            )
            print(
                f"| {res} | {n:,} | {workers} | {whole:.1f} | {n / whole:,.0f} | {beside} | {busy / whole:.2f} "
                f"| {size / 1e6:,.0f} | {size / whole / 1e6:.0f} | {size / writing / 1e6:.0f} | {memory:.2f} |",
                flush=True,
            )
    if given.only_build:
        return
    print("\n| stage, s of one processor | " + " | ".join(f"res {res}" for res in resolutions) + " |")
    print("| --- " * (1 + len(resolutions)) + "|")
    columns = []
    for res in resolutions:
        folder = Path(tempfile.mkdtemp())
        columns.append(stages(encoder, res, folder))
        shutil.rmtree(folder)
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.2f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
