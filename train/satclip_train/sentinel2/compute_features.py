"""Computation of the feature cache: the frozen tower runs once over every view of every tile."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
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

from .augment import Views, center_crop, derive_seed, reflectance
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
from .vision_towers import Tower, load_tower

_VIEWS_STREAM = 0x56494557
_MAX_THREADS = 8


def compute_features(
    config: S2Config, *, device: str = "auto", progress: Callable[[int, int], None] | None = None
) -> Cache:
    """Run the frozen tower over every view of every tile, and return the cache; finished shards are reused.

    Parameters
    ----------
    config : S2Config
        ``data``, ``tower``, ``cache`` and ``seed`` are used.
    device : str
        Device of the tower: ``cpu``, ``cuda``, or ``auto``.
    progress : callable, optional
        Called with (tiles done, tiles in all).

    Raises
    ------
    DataError
        If the folder contains features of other data, another tower or other views, or too many tiles are bad.
    """
    if not config.from_cache:
        raise ConfigError('The configuration has no cache; add [cache] folder = "features".')
    folder = Path(config.cache.folder)
    tiles = tiles_of(config)
    fingerprint = fingerprint_of(config, tiles)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        refuse_stale(folder, read_manifest(folder), fingerprint)
    tower = load_tower(config.tower.name, config.encoder.embed_dim, weights=config.tower.weights, seed=config.seed)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "complete": False,
        "fingerprint": asdict(fingerprint),
        "head_name": tower.head_name,
        "shards": -(-len(tiles) // config.cache.shard_tiles),
    }
    write_json(folder / MANIFEST, manifest)
    extractor = _Extractor(
        config=config,
        tiles=tiles,
        tower=tower,
        views=Views(tower.crop),
        device=torch.device(best_device() if device == "auto" else device),
    )
    tower.visual.to(extractor.device)
    for shard in range(manifest["shards"]):
        path = folder / f"shard-{shard:05d}.safetensors"
        rows = _shard_rows(config, tiles, shard)
        if path.exists():
            for name, reason in json.loads(shard_header(path)[0]["__metadata__"]["bad"]).items():
                tiles.bad.add(name, reason)
        else:
            _write_shard(path, extractor, shard, progress)
        tiles.bad.check()
        if progress is not None:
            progress(rows.stop, len(tiles))
    manifest |= {"complete": True, "left_out": tiles.bad.summary()}
    write_json(folder / MANIFEST, manifest)
    return open_cache(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extractor:
    """The tiles, and the tower and views that turn them into features."""

    config: S2Config
    tiles: Tiles
    tower: Tower
    views: Views
    device: torch.device

    def plain_features(self, images: Tensor) -> NDArray[Any]:
        """Return the features of the centers of images, (n, dim_features)."""
        return self._features(center_crop(images, self.tower.crop))

    def view_features(self, images: Tensor) -> NDArray[Any]:
        """Return the features of augmented views of images, (n, views, dim_features)."""
        return np.stack([self._features(self.views(images)) for _ in range(self.config.cache.views)], axis=1)

    def _features(self, images: Tensor) -> NDArray[Any]:
        return self.tower.features(images).float().cpu().numpy().astype(self.config.cache.dtype)


def _shard_rows(config: S2Config, tiles: Tiles, shard: int) -> range:
    start = shard * config.cache.shard_tiles
    return range(start, min(start + config.cache.shard_tiles, len(tiles)))


def _write_shard(
    path: Path, extractor: _Extractor, shard: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Compute and write one shard; its random draws depend only on the seed and on its number."""
    config, tiles = extractor.config, extractor.tiles
    rows = _shard_rows(config, tiles, shard)
    bad: dict[str, str] = {}
    good: list[int] = []
    views: list[NDArray[Any]] = []
    plain: list[NDArray[Any]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, _VIEWS_STREAM, shard))
        for batch in _batches(tiles, rows, config.cache.batch_size, good, bad):
            images = reflectance(batch.to(extractor.device), offset=config.data.offset)
            plain.append(extractor.plain_features(images))
            views.append(extractor.view_features(images))
            if progress is not None:
                progress(rows.start + len(good) + len(bad), len(tiles))
    kept = tiles.take(good)
    tensors = {"lon": kept.lon, "lat": kept.lat}
    if good:
        tensors |= {"views": np.concatenate(views), "plain": np.concatenate(plain)}
    metadata = {"names": json.dumps(kept.names), "bad": json.dumps(bad)}
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata=metadata)


def _batches(tiles: Tiles, rows: Sequence[int], size: int, good: list[int], bad: dict[str, str]) -> Iterator[Tensor]:
    """Yield batches of pixels, and read ahead; add rows that can be read to ``good``, and the others to ``bad``."""
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:

        def start_reading(chunk: Sequence[int]) -> list[tuple[int, Future[NDArray[np.uint16]]]]:
            return [(row, pool.submit(tiles.read, row)) for row in chunk]

        following = start_reading(chunks[0])
        for number in range(len(chunks)):
            current, following = following, start_reading(chunks[number + 1]) if number + 1 < len(chunks) else []
            images = []
            for row, future in current:
                try:
                    images.append(future.result())
                    good.append(row)
                except BadTileError as error:
                    bad[tiles.names[row]] = str(error)
                    tiles.bad.add(tiles.names[row], str(error))
                    tiles.bad.check()
            if images:
                yield torch.from_numpy(np.stack(images))
