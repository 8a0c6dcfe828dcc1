"""Batches of tiles or of cached features for Lightning, in an order that depends only on the seed and the epoch."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from satclip_index.errors import DataError

from .bad_tiles import BadTileError
from .config import S2Config
from .feature_cache import Cache, open_cache, tiles_of, write_json
from .lightning_parts import LightningDataModule
from .splits import validation_mask
from .tiles import Tiles

logger = logging.getLogger(__name__)
TILES_RECORD = "tiles.json"
LAST = "last.ckpt"
_SHUFFLE_STREAM = 0x53485546
_MAX_THREADS = 8

Batch = dict[str, Any]
"""``rows`` (n,) int64; ``lon, lat`` (n,) float64; ``images`` (n, 12, h, w) uint16 or ``features`` (n, d) float32."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The tiles of one batch, and the cached view of each; the plain view if ``views`` is None."""

    rows: NDArray[np.int64]
    views: NDArray[np.int64] | None


class Draws(Sampler[Draw]):
    """The batches of one epoch, restricted to the share of one process.

    Parameters
    ----------
    rows : (n,) int64
        The tiles to draw from.
    batch_size : int
        Maximum over all processes together. An epoch is divided into batches of nearly equal size, so that the last one
        is not a small remainder. Every process gets the same number of tiles of a batch, so up to ``world - 1`` tiles
        of it are left out.
    seed : int
        Seed of the run.
    shuffle : bool
        Whether to shuffle in each epoch, as for training, or to keep the order of ``rows``.
    views : int
        Number of cached views to draw from; 0 for the plain view.
    rank, world : int
        Rank of this process, and number of processes.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        views: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._rows, self._batches = rows, -(-rows.size // batch_size)
        self._seed, self._shuffle, self._views = seed, shuffle, views
        self._rank, self._world = rank, world
        self._epoch = 0

    def __len__(self) -> int:
        return self._batches

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; called by Lightning."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self._seed, _SHUFFLE_STREAM, self._epoch])
        order = rng.permutation(self._rows) if self._shuffle else self._rows
        views = rng.integers(self._views, size=order.size) if self._views else None
        for batch in np.array_split(np.arange(order.size), self._batches):
            share = batch.size // self._world
            mine = batch[self._rank * share : (self._rank + 1) * share]
            yield Draw(order[mine], None if views is None else views[mine])


class TileBatches(Dataset[Batch]):
    """Batches of pixels, read on demand."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles

    def __getitem__(self, draw: Draw) -> Batch:
        try:
            images = np.stack([self._tiles.read(int(row)) for row in draw.rows])
        except BadTileError as error:
            raise DataError(f"A tile can no longer be read, although it could when the run started: {error}.") from None
        return {
            "rows": draw.rows,
            "lon": self._tiles.lon[draw.rows],
            "lat": self._tiles.lat[draw.rows],
            "images": images,
        }


class CachedBatches(Dataset[Batch]):
    """Batches of cached features."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def __getitem__(self, draw: Draw) -> Batch:
        return {
            "rows": draw.rows,
            "lon": self._cache.lon[draw.rows],
            "lat": self._cache.lat[draw.rows],
            "features": self._cache.features(draw.rows, draw.views),
        }


class _Data(LightningDataModule):
    """Split and loaders of both kinds of sources."""

    names: list[str]
    left_out: str

    def __init__(self, config: S2Config) -> None:
        super().__init__()
        self.config = config
        self.validation = np.zeros(0, dtype=np.bool_)

    def split(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> None:
        """Select the tiles that are held out."""
        data = self.config.data
        self.validation = validation_mask(
            lon,
            lat,
            kind=data.split,
            share=data.validation_share,
            block_degrees=data.block_degrees,
            seed=self.config.seed,
        )
        if (minimum := 2 * self.config.machine.devices) > (count := int((~self.validation).sum())):
            raise DataError(f"{count} tiles are left to train on; expected at least {minimum}.")

    def loader(self, source: Dataset[Batch], *, held_out: bool, views: int = 0, workers: int = 0) -> DataLoader[Batch]:
        """Return the batches of the training tiles, or of the held-out ones."""
        draws = Draws(
            np.flatnonzero(self.validation == held_out),
            self.config.training.batch_size,
            seed=self.config.seed,
            shuffle=not held_out,
            views=0 if held_out else views,
            rank=self.trainer.global_rank if self.trainer else 0,
            world=self.trainer.world_size if self.trainer else 1,
        )
        # Each sample is a whole batch, so torch must not combine samples into batches.
        return DataLoader(
            source, sampler=draws, batch_size=None, num_workers=workers, persistent_workers=workers > 0 and not held_out
        )


class TilesData(_Data):
    """Tiles, for training end to end. All are read once before training, and bad ones are left out.

    Parameters
    ----------
    config : S2Config
        The configuration of the run.
    folder : Path
        Folder of the run; bad tiles are recorded there.
    """

    tiles: Tiles

    def __init__(self, config: S2Config, folder: Path) -> None:
        super().__init__(config)
        self._record = folder / TILES_RECORD

    def prepare_data(self) -> None:
        """Read all tiles, in one process, unless there is a record of it."""
        tiles = tiles_of(self.config)
        fingerprint = tiles.fingerprint()
        if self._recorded(fingerprint) is not None:
            return
        if self._record.exists() and (self._record.parent / LAST).exists():
            raise DataError(
                f"The tiles in {self.config.data.tiles} have changed since the run in {self._record.parent} started. "
                "Restore them, or start another run with -o."
            )
        logger.info("Reading %d tiles.", len(tiles))
        readable = set(tiles.readable(threads=min(_MAX_THREADS, os.cpu_count() or 1)).names)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        unreadable = {name: tiles.bad.reasons[name] for name in tiles.names if name not in readable}
        write_json(self._record, {"fingerprint": fingerprint, "bad": unreadable})

    def setup(self, stage: str) -> None:
        """Open the tiles that can be read, and split them."""
        tiles = tiles_of(self.config, warn=False)
        unreadable = self._recorded(tiles.fingerprint())
        if unreadable is None:
            raise DataError(f"{self.config.data.tiles} changed while the run was starting. Start it again.")
        tiles.bad.reasons |= unreadable
        tiles.bad.check()
        self.tiles = tiles.take([row for row, name in enumerate(tiles.names) if name not in unreadable])
        self.names, self.left_out = self.tiles.names, tiles.bad.summary()
        self.split(self.tiles.lon, self.tiles.lat)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return batches of training tiles, shuffled."""
        return self.loader(TileBatches(self.tiles), held_out=False, workers=self.config.data.workers)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return batches of held-out tiles."""
        if not self.validation.any():
            return []
        return self.loader(TileBatches(self.tiles), held_out=True, workers=self.config.data.workers)

    def _recorded(self, fingerprint: str) -> dict[str, str] | None:
        """Return the recorded bad tiles, or None if there is no record of these tiles."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record["bad"] if record.get("fingerprint") == fingerprint else None


class CachedData(_Data):
    """Cached features of tiles."""

    cache: Cache

    def setup(self, stage: str) -> None:
        """Open the cache, and split it."""
        self.cache = open_cache(self.config)
        self.names, self.left_out = self.cache.names, self.cache.left_out
        self.split(self.cache.lon, self.cache.lat)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return batches of training tiles, shuffled, each tile in a random view."""
        return self.loader(CachedBatches(self.cache), held_out=False, views=self.cache.views)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return batches of held-out tiles in their plain view."""
        return self.loader(CachedBatches(self.cache), held_out=True) if self.validation.any() else []
