"""Samples a second of training from the cache, beside the released recipe end to end: same machine, same tower.

The released step takes 512 tiles, augments them, runs the frozen ResNet-18 and trains the head and the location
encoder. Its tiles are in memory already, which spares it the reading. The step from the cache reads features, in
batches of 8,192. Both are whole steps: jitter, harmonics, dropout, loss, gradients, AdamW. The 23 tiles are repeated to
fill a batch. The released step is measured again with the tower run over 32 tiles at a time, which the released code
does not do, to see what of the ratio is the memory that 512 tiles take in the tower.

    python benchmarks/bench_train.py [--tiles FOLDER] [--threads 1] [--device cpu|cuda]
"""

import argparse
import multiprocessing
import resource
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common import describe_machine
from satclip_train.sentinel2.compute_features import compute_features
from satclip_train.sentinel2.config import (
    CacheConfig,
    LocationConfig,
    MachineConfig,
    OptimConfig,
    S2Config,
    TilesConfig,
    VisionConfig,
)
from satclip_train.sentinel2.data_module import Batch, CachedData, TilesData
from satclip_train.sentinel2.feature_cache import tiles_of
from satclip_train.sentinel2.lightning_module import SatClipModule
from satclip_train.sentinel2.train import make_tower_for, make_trainer, quiet_lightning

TILES = Path(__file__).parent.parent.parent / "shared" / "data" / "s2"
RELEASED_BATCH, CACHED_BATCH, CHUNK = 512, 8192, 32
DEGREES = (10, 40)
SAMPLING_S = 0.1
ROUNDS = {"cpu": {"released": 1, "in chunks": 1, "cached": 3}, "cuda": {"released": 10, "in chunks": 10, "cached": 30}}


def make_config(folder: Path, tiles: Path, degree: int, device: str) -> S2Config:
    """Return the released recipe, end to end, with random weights in the tower."""
    return S2Config(
        name="bench",
        data=TilesConfig(tiles=str(tiles)),
        tower=VisionConfig(name="resnet18", weights="none"),
        encoder=LocationConfig(legendre_polys=degree),
        training=OptimConfig(),
        machine=MachineConfig(accelerator=device, log="none"),
    )


def cached(config: S2Config, folder: Path) -> S2Config:
    """Return the same run from a cache."""
    return replace(
        config,
        cache=CacheConfig(folder=str(folder / "features"), views=2),
        training=replace(config.training, batch_size=CACHED_BATCH, accumulate=1),
    )


def measure(arguments: tuple[str, int, Path, Path, str, int, int]) -> tuple[float, float, float]:
    """Return the median seconds of a step, the peak memory in GB, and the share of time that a GPU was at work."""
    kind, degree, folder, tiles, device, threads, rounds = arguments
    torch.set_num_threads(threads)
    config = make_config(folder, tiles, degree, device)
    if kind == "cached":
        config = cached(config, folder)
    data = CachedData(config) if config.from_cache else TilesData(config, folder)
    data.prepare_data()
    data.setup("fit")
    module = SatClipModule(config, make_tower_for(config, data)).to(device).train()
    with quiet_lightning():
        module.trainer = make_trainer(config, folder)
    if kind == "in chunks":
        see = module.tower.features
        module.tower.features = lambda images: torch.cat([see(part) for part in images.split(CHUNK)])
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-4)
    next_batch = _batches(config, data)

    def step() -> None:
        batch = {name: torch.as_tensor(value).to(device) for name, value in next_batch().items()}
        optimizer.zero_grad()
        module.batch_loss(batch).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    if rounds > 1:
        step()
    taken = []
    with _Utilisation(device) as utilisation:
        for _ in range(rounds):
            start = time.perf_counter()
            step()
            taken.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else _resident_gb()
    return statistics.median(taken), peak, utilisation.mean()


def _batches(config: S2Config, data: CachedData | TilesData) -> Callable[[], Batch]:
    """Return a function that gives a full batch, tiles repeated."""
    rng = np.random.default_rng(0)
    size = config.training.batch_size
    if isinstance(data, CachedData):
        cache = data.cache

        def from_cache() -> Batch:
            rows = rng.integers(len(cache), size=size)
            views = rng.integers(cache.views, size=size)
            features = cache.features(rows, views)
            return {"rows": rows, "lon": cache.lon[rows], "lat": cache.lat[rows], "features": features}

        return from_cache
    tiles = tiles_of(config)
    rows = np.arange(size) % len(tiles)
    held = [tiles.read(i) for i in range(len(tiles))]
    images = np.stack([held[row] for row in rows])
    batch = {"rows": rows, "lon": tiles.lon[rows], "lat": tiles.lat[rows], "images": images}
    return lambda: batch


class _Utilisation:
    """Asks nvidia-smi, while it is entered, how busy the GPU is."""

    def __init__(self, device: str) -> None:
        self._asks = device == "cuda"
        self._seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "_Utilisation":
        if self._asks:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._asks:
            self._thread.join()

    def mean(self) -> float:
        return statistics.mean(self._seen) if self._seen else float("nan")

    def _ask(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
        while not self._stop.wait(SAMPLING_S):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                self._seen.append(float(done.stdout.split()[0]))


def _resident_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiles", type=Path, default=TILES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    where = f"{given.threads} threads" if given.device == "cpu" else torch.cuda.get_device_name()
    print(f"{describe_machine()}, {where}\n")
    print("| L | step | batch | seconds | samples/s | ratio | peak memory | GPU busy |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compute_features(cached(make_config(folder, given.tiles, 10, given.device), folder), device=given.device)
        for degree in DEGREES:
            per_s: dict[str, float] = {}
            for kind, rounds in ROUNDS[given.device].items():
                batch = CACHED_BATCH if kind == "cached" else RELEASED_BATCH
                # A process each, so that one's peak memory is not the other's.
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    task = (kind, degree, folder, given.tiles, given.device, given.threads, rounds)
                    seconds, peak, busy = pool.apply(measure, (task,))
                per_s[kind] = batch / seconds
                ratio = f"{per_s[kind] / per_s['released']:.1f}x"
                shown = f"{busy:.0f} %" if busy == busy else "-"
                speed = f"{seconds:.2f} | {per_s[kind]:,.0f} | {ratio}"
                print(f"| {degree} | {kind} | {batch:,} | {speed} | {peak:.1f} GB | {shown} |", flush=True)


if __name__ == "__main__":
    main()
