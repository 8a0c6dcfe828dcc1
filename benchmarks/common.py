"""What every benchmark says about itself and how it measures."""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from satclip_index.storage.manifest import library_versions


def describe_machine() -> str:
    """Return one line: date, processor, cores, Python and library versions."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    processor = f"{len(names)} x {names[0]}" if names else platform.processor()
    return f"{datetime.now(UTC):%Y-%m-%d}, {processor}, Python {platform.python_version()}, {versions}"


def measured_process(*arguments: object) -> tuple[float, float, float]:
    """Return the seconds, the seconds of processors, and the peak memory in GB, of ``satclip-index`` with arguments."""
    command = [sys.executable, "-c", "from satclip_cli.main import main; main()", *map(str, arguments)]
    start = time.perf_counter()
    child = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"satclip-index {arguments[0]} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def interleaved_seconds(*works: Callable[[], object], rounds: int) -> list[float]:
    """Return the median seconds of each work; they take turns, so a slow minute slows them all alike."""
    times: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(rounds):
        for work, taken in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]
