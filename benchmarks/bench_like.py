"""Asking one question: as a process, and in a process that is running already.

Takes the folder of an atlas; by default ./atlas, as `make demo` leaves it.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from common import describe_machine
from satclip_index import open_atlas

COMMAND = Path(sys.executable).with_name("satclip-index")
CITIES = ("Nairobi", "Paris", "Manaus", "Phoenix", "Lhasa", "Cairo", "Tokyo", "Oslo")
ROUNDS = 5


def main() -> None:
    """Print a Markdown table."""
    folder = sys.argv[1] if len(sys.argv) > 1 else "atlas"
    atlas = open_atlas(folder)
    atlas.like(CITIES[0])
    whole, asked = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run(
            [COMMAND, "like", "Nairobi", "--quiet", "--atlas", folder], check=True, stdout=subprocess.DEVNULL
        )
        whole.append(time.perf_counter() - start)
        for city in CITIES:
            start = time.perf_counter()
            atlas.like(city)
            asked.append(time.perf_counter() - start)
    print(describe_machine() + "\n")
    print("| what | median | slowest |\n| --- | --- | --- |")
    print(f"| satclip-index like Nairobi, the whole process | {statistics.median(whole):.2f} s | {max(whole):.2f} s |")
    print(f"| Atlas.like of a city | {statistics.median(asked) * 1e3:.0f} ms | {max(asked) * 1e3:.0f} ms |")


if __name__ == "__main__":
    main()
