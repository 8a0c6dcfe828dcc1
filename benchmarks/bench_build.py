"""Building an atlas end to end, beside encoding alone in the same run.

Each build is a process of its own, so that its peak memory is its own. Takes resolutions as arguments; 3 and 4 by
default.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import describe_machine
from satclip_index import grid, open_atlas
from satclip_index.encoder import Encoder

ROUNDS = 3
COMMAND = Path(sys.executable).with_name("satclip-index")


def encode_alone(res: int) -> float:
    """Return the seconds that encoding every cell takes, and nothing else."""
    encoder = Encoder.load("bluemarble")
    lon, lat = grid.cell_centers(grid.cells_at(res))
    start = time.perf_counter()
    encoder.encode(lon, lat)
    return time.perf_counter() - start


def build(res: int, folder: Path) -> tuple[float, float]:
    """Return the seconds and the peak memory in GB of a build."""
    start = time.perf_counter()
    subprocess.run([COMMAND, "build", "--atlas", folder, "--res", str(res), "--quiet"], check=True)
    elapsed_s = time.perf_counter() - start
    return elapsed_s, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> None:
    """Print a Markdown table."""
    print(describe_machine() + "\n")
    print("| res | cells | build, s | cells/s | encoding alone, s | ratio | MB on disk | bytes/cell | peak RSS, GB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for res in [int(argument) for argument in sys.argv[1:]] or [3, 4]:
        built, alone, memory, size = [], [], 0.0, 0
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / "atlas"
                elapsed_s, memory = build(res, folder)
                built.append(elapsed_s)
                size = sum(file.size for file in open_atlas(folder).manifest.files)
            alone.append(encode_alone(res))
        n = grid.cell_count(res)
        whole, encoding = statistics.median(built), statistics.median(alone)
        print(
            f"| {res} | {n:,} | {whole:.1f} | {n / whole:,.0f} | {encoding:.1f} | {whole / encoding:.1f}x "
            f"| {size / 1e6:,.0f} | {size / n:.0f} | {memory:.2f} |"
        )


if __name__ == "__main__":
    main()
