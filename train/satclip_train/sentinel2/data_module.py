"""Batches of tiles, or of their cached features, for Lightning; what comes next follows from seed and epoch alone."""

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
CHECKED = "tiles.json"
LAST = "last.ckpt"
_SHUFFLE_STREAM = 0x53485546
_MOST_THREADS = 8

Batch = dict[str, Any]
"""``rows`` (n,) int64; ``lon, lat`` (n,) float64; ``images`` (n, 12, h, w) uint16 or ``features`` (n, d) float32."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The tiles of one batch, and which cached view of each; no views mean the plain one."""

    rows: NDArray[np.int64]
    views: NDArray[np.int64] | None


class Draws(Sampler[Draw]):
    """The batches of one epoch, and of them the share of one process.

    Parameters
    ----------
    rows : (n,) int64
        The tiles to draw from.
    batch_size : int
        Of all processes together. An epoch is divided into batches of this size, or a little less, all of them alike:
        the last is never a small remainder. A batch gives every process the same number of tiles, so that up to
        ``world - 1`` tiles of it may be left out.
    seed : int
        Of the run.
    shuffle : bool
        Whether the order changes with the epoch, as training wants, or is that of ``rows``.
    views : int
        Cached views to draw from; 0 for the plain one.
    rank, world : int
        This process, and their number.
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
        """Choose the epoch; Lightning calls this."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self._seed, _SHUFFLE_STREAM, self._epoch])
        order = rng.permutation(self._rows) if self._shuffle else self._rows
        views = rng.integers(self._views, size=order.size) if self._views else None
        for at in np.array_split(np.arange(order.size), self._batches):
            share = at.size // self._world
            mine = at[self._rank * share : (self._rank + 1) * share]
            yield Draw(order[mine], None if views is None else views[mine])


class TileBatches(Dataset[Batch]):
    """Batches of pixels, read when they are wanted."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles

    def __getitem__(self, draw: Draw) -> Batch:
        try:
            images = np.stack([self._tiles.read(int(row)) for row in draw.rows])
        except BadTileError as error:
            raise DataError(f"A tile that could be read when the run began no longer can: {error}.") from None
        return {
            "rows": draw.rows,
            "lon": self._tiles.lon[draw.rows],
            "lat": self._tiles.lat[draw.rows],
            "images": images,
        }


class CachedBatches(Dataset[Batch]):
    """Batches of features."""

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
    """What both sources share: the split and the loaders."""

    names: list[str]
    left_out: str

    def __init__(self, config: S2Config) -> None:
        super().__init__()
        self.config = config
        self.validation = np.zeros(0, dtype=np.bool_)

    def split(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> None:
        """Choose what is held out."""
        data = self.config.data
        self.validation = validation_mask(
            lon,
            lat,
            kind=data.split,
            share=data.validation_share,
            block_degrees=data.block_degrees,
            seed=self.config.seed,
        )
        if (least := 2 * self.config.machine.devices) > (found := int((~self.validation).sum())):
            raise DataError(f"{found} tiles are left to train on; expected at least {least}.")

    def loader(self, source: Dataset[Batch], *, held_out: bool, views: int = 0, workers: int = 0) -> DataLoader[Batch]:
        """Return the batches of one side of the split."""
        draws = Draws(
            np.flatnonzero(self.validation == held_out),
            self.config.training.batch_size,
            seed=self.config.seed,
            shuffle=not held_out,
            views=0 if held_out else views,
            rank=self.trainer.global_rank if self.trainer else 0,
            world=self.trainer.world_size if self.trainer else 1,
        )
        # Each "sample" is a whole batch, so torch must not make batches of them.
        return DataLoader(
            source, sampler=draws, batch_size=None, num_workers=workers, persistent_workers=workers > 0 and not held_out
        )


class TilesData(_Data):
    """Tiles, end to end: every one is tried before training begins, once, and the bad ones are left out.

    Parameters
    ----------
    config : S2Config
        The run.
    folder : Path
        Of the run; what was found bad is recorded there.
    """

    tiles: Tiles

    def __init__(self, config: S2Config, folder: Path) -> None:
        super().__init__(config)
        self._record = folder / CHECKED

    def prepare_data(self) -> None:
        """Try every tile, in one process, unless that was done before."""
        tiles = tiles_of(self.config)
        fingerprint = tiles.fingerprint()
        if self._recorded(fingerprint) is not None:
            return
        if self._record.exists() and (self._record.parent / LAST).exists():
            raise DataError(
                f"The tiles of {self.config.data.tiles} are no longer those that the run in {self._record.parent} "
                "began with. Put them back, or begin another with -o."
            )
        logger.info("Trying %d tiles.", len(tiles))
        sound = set(tiles.sound(threads=min(_MOST_THREADS, os.cpu_count() or 1)).names)
        self._record.parent.mkdir(parents=True, exist_ok=True)
        unread = {name: tiles.bad.reasons[name] for name in tiles.names if name not in sound}
        write_json(self._record, {"fingerprint": fingerprint, "bad": unread})

    def setup(self, stage: str) -> None:
        """Take the sound tiles, and split them."""
        tiles = tiles_of(self.config, report=False)
        unread = self._recorded(tiles.fingerprint())
        if unread is None:
            raise DataError(f"{self.config.data.tiles} changed while the run began. Start it again.")
        tiles.bad.reasons |= unread
        tiles.bad.check()
        self.tiles = tiles.take([row for row, name in enumerate(tiles.names) if name not in unread])
        self.names, self.left_out = self.tiles.names, tiles.bad.summary()
        self.split(self.tiles.lon, self.tiles.lat)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches."""
        return self.loader(TileBatches(self.tiles), held_out=False, workers=self.config.data.workers)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return the held-out tiles."""
        if not self.validation.any():
            return []
        return self.loader(TileBatches(self.tiles), held_out=True, workers=self.config.data.workers)

    def _recorded(self, fingerprint: str) -> dict[str, str] | None:
        """Return the bad tiles found before among the same tiles."""
        try:
            record = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record["bad"] if record.get("fingerprint") == fingerprint else None


class CachedData(_Data):
    """Features of tiles, from a cache."""

    cache: Cache

    def setup(self, stage: str) -> None:
        """Open the cache, and split it."""
        self.cache = open_cache(self.config)
        self.names, self.left_out = self.cache.names, self.cache.left_out
        self.split(self.cache.lon, self.cache.lat)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled batches, each tile in a view drawn anew."""
        return self.loader(CachedBatches(self.cache), held_out=False, views=self.cache.views)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Return the held-out tiles, in their plain view."""
        return self.loader(CachedBatches(self.cache), held_out=True) if self.validation.any() else []
