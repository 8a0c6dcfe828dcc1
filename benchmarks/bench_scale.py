"""What a cell takes on disk, part by part, and what a shard takes in memory: the measured numbers of docs/scale.md.

Takes folders of atlases; ``--shard RES``, several times, makes the first shard of a resolution in a process of its own.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from common import describe_machine
from satclip_index import open_atlas
from satclip_index.builder._shards import build_shard, shards_of
from satclip_index.encoder.cell_encoder import CellEncoder
from satclip_index.encoder.deterministic import single_threaded
from satclip_index.encoder.location_encoder import Encoder


def bytes_a_cell(folder: str) -> None:
    """Print a line for each resolution of an atlas."""
    manifest = open_atlas(folder).manifest
    for res, entry in manifest.resolutions.items():
        parts = [
            sum(file.size for file in manifest.files if file.path.startswith(f"res={res}/{part}")) / entry.count
            for part in ("cells/", "index.faiss", "tree.safetensors")
        ]
        shown = " | ".join(f"{part:,.0f}" for part in [*parts, sum(parts)])
        print(f"| {res} | {entry.count:,} | {entry.land_count / entry.count:.3f} | {shown} |", flush=True)


def make_shard(res: int) -> None:
    """Make the first shard of a resolution, and print its seconds and the peak memory."""
    encoder = Encoder.load("bluemarble")
    shard = shards_of(res)[0]
    with tempfile.TemporaryDirectory() as temporary, single_threaded():
        for name in ("cells", "segments"):
            (Path(temporary) / f"res={res}" / name).mkdir(parents=True)
        start = time.process_time()
        build_shard(Path(temporary), shard, encoder, CellEncoder(encoder).encode, land_only=False)
        busy_s = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| {res} | {len(shards_of(res)):,} | {shard.cell_count():,} | {busy_s:.1f} | {peak:.2f} |", flush=True)


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("atlas", nargs="*")
    parser.add_argument("--shard", type=int, action="append", default=[])
    given = parser.parse_args()
    print(describe_machine() + "\n")
    print("| res | cells | on land | Parquet | index.faiss | tree | together, bytes a cell |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for folder in given.atlas:
        bytes_a_cell(folder)
    print("\n| res | shards | cells of the first | s of one processor | peak memory of the process, GB |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for res in given.shard:
        child = multiprocessing.get_context("spawn").Process(target=make_shard, args=(res,))
        child.start()
        child.join()


if __name__ == "__main__":
    main()
