"""Compute the feature cache: the frozen tower runs once over every view of every tile."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from satclip_index.encoder.devices import best_device
from satclip_index.errors import ConfigError
from satclip_index.storage.atomic import atomic_path

from .augment import Views, draw_seed, middle, reflectance
from .bad_tiles import BadTileError
from .config import S2Config
from .feature_cache import (
    FORMAT,
    MANIFEST,
    Cache,
    fingerprint_of,
    open_cache,
    read_manifest,
    refuse_stale,
    shard_header,
    tiles_of,
    write_json,
)
from .tiles import Tiles
from .vision_towers import load_tower

_VIEWS_STREAM = 0x56494557
_MOST_THREADS = 8


def compute_features(
    config: S2Config, *, device: str = "auto", progress: Callable[[int, int], None] | None = None
) -> Cache:
    """Run the frozen tower over every view of every tile, and return the cache; finished shards are kept.

    Parameters
    ----------
    config : S2Config
        ``data``, ``tower``, ``cache`` and ``seed`` count.
    device : str
        Where the tower runs: ``cpu``, ``cuda``, or ``auto``.
    progress : callable, optional
        Called with (tiles done, tiles in all).

    Raises
    ------
    DataError
        If the folder holds features of other data, another tower or other views, or too many tiles are bad.
    """
    if not config.from_cache:
        raise ConfigError('The configuration names no cache; add [cache] folder = "features".')
    folder = Path(config.cache.folder)
    tiles = tiles_of(config)
    fingerprint = fingerprint_of(config, tiles)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        refuse_stale(folder, read_manifest(folder), fingerprint)
    tower = load_tower(config.tower.name, config.encoder.embed_dim, weights=config.tower.weights, seed=config.seed)
    views = Views(tower.crop)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "complete": False,
        "fingerprint": asdict(fingerprint),
        "head_name": tower.head_name,
        "shards": -(-len(tiles) // config.cache.shard_tiles),
    }
    write_json(folder / MANIFEST, manifest)
    where = torch.device(best_device() if device == "auto" else device)
    tower.visual.to(where)

    def see(images: Tensor) -> NDArray[Any]:
        return tower.features(images).float().cpu().numpy().astype(config.cache.dtype)

    for shard in range(manifest["shards"]):
        path = folder / f"shard-{shard:05d}.safetensors"
        start = shard * config.cache.shard_tiles
        rows = range(start, min(start + config.cache.shard_tiles, len(tiles)))
        if path.exists():
            for name, reason in json.loads(shard_header(path)[0]["__metadata__"]["bad"]).items():
                tiles.bad.add(name, reason)
        else:
            tell = (lambda done, start=start: progress(start + done, len(tiles))) if progress is not None else None
            _write_shard(path, config, tiles, rows, shard, views, see, where, tower.crop, tell)
        tiles.bad.check()
        if progress is not None:
            progress(rows.stop, len(tiles))
    manifest |= {"complete": True, "left_out": tiles.bad.summary()}
    write_json(folder / MANIFEST, manifest)
    return open_cache(config)


def _write_shard(
    path: Path,
    config: S2Config,
    tiles: Tiles,
    rows: Sequence[int],
    shard: int,
    views: Views,
    see: Callable[[Tensor], NDArray[Any]],
    where: torch.device,
    crop: int,
    tell: Callable[[int], None] | None,
) -> None:
    """Compute and write one shard; its draws depend on the seed and its number alone."""
    bad: dict[str, str] = {}
    good: list[int] = []
    seen: list[NDArray[Any]] = []
    plain: list[NDArray[Any]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw_seed(config.seed, _VIEWS_STREAM, shard))
        for batch in _batches(tiles, rows, config.cache.batch_size, good, bad):
            images = reflectance(batch.to(where), offset=config.data.offset)
            plain.append(see(middle(images, crop)))
            seen.append(np.stack([see(views(images)) for _ in range(config.cache.views)], axis=1))
            if tell is not None:
                tell(len(good) + len(bad))
    kept = tiles.take(good)
    tensors = {"lon": kept.lon, "lat": kept.lat}
    if good:
        tensors |= {"views": np.concatenate(seen), "plain": np.concatenate(plain)}
    metadata = {"names": json.dumps(kept.names), "bad": json.dumps(bad)}
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def _batches(tiles: Tiles, rows: Sequence[int], size: int, good: list[int], bad: dict[str, str]) -> Iterator[Tensor]:
    """Yield pixels of tiles that can be read, the next ones being read meanwhile; note which can and which cannot."""
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:

        def begin(chunk: Sequence[int]) -> list[tuple[int, Future[NDArray[np.uint16]]]]:
            return [(row, pool.submit(tiles.read, row)) for row in chunk]

        following = begin(chunks[0])
        for number in range(len(chunks)):
            current, following = following, begin(chunks[number + 1]) if number + 1 < len(chunks) else []
            held = []
            for row, reading in current:
                try:
                    held.append(reading.result())
                    good.append(row)
                except BadTileError as error:
                    bad[tiles.names[row]] = str(error)
                    tiles.bad.add(tiles.names[row], str(error))
                    tiles.bad.check()
            if held:
                yield torch.from_numpy(np.stack(held))
