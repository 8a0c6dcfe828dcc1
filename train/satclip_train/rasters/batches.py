"""Training batches of new places, prepared by a thread ahead of the training loop."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from satclip_index.encoder.spherical_harmonics import real_harmonics

from .config import Config, EncoderConfig
from .point_sampling import PointSampler
from .position_bumps import PositionBumps
from .random_conv_tower import RandomConvTower

PREFETCHED_BATCHES = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Scaled harmonics, (n, L * L), features of the tower, and functions of position, for n places; float32."""

    harmonics: Tensor
    features: Tensor
    position: Tensor


def degree_weights(shape: EncoderConfig) -> Tensor:
    """Return the factor of each harmonic, (L * L,) float32, with a mean square of 1."""
    degree = torch.arange(shape.legendre_polys, dtype=torch.float64)
    factor = torch.repeat_interleave((1 + degree) ** -shape.degree_decay, (2 * degree + 1).long())
    return (factor / factor.square().mean().sqrt()).float()


def fresh_batches(
    config: Config, sampler: PointSampler, tower: RandomConvTower, bumps: PositionBumps, rng: np.random.Generator
) -> Iterator[Batch]:
    """Yield batches of new points, without end."""
    factor = degree_weights(config.encoder)
    while True:
        lon, lat = sampler.draw(config.training.batch_size, rng)
        yield Batch(
            scaled_harmonics(lon, lat, config.encoder.legendre_polys, factor),
            torch.from_numpy(tower.features(lon, lat)),
            torch.from_numpy(bumps.features(lon, lat)),
        )


def scaled_harmonics(lon: NDArray[np.float64], lat: NDArray[np.float64], legendre_polys: int, factor: Tensor) -> Tensor:
    """Return the harmonics of each point times ``factor``: (n, L * L) float32."""
    points = torch.from_numpy(lon), torch.from_numpy(lat)
    return real_harmonics(*points, legendre_polys, dtype=torch.float32).T * factor


class Prefetcher:
    """An iterator that runs ahead of its consumer in a thread; a context manager.

    The order is that of ``source``, so results stay reproducible.
    """

    def __init__(self, source: Iterator[Batch], *, ahead: int = PREFETCHED_BATCHES) -> None:
        self._source = source
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill_queue, name="batches", daemon=True)

    def __enter__(self) -> "Prefetcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> "Prefetcher":
        return self

    def __next__(self) -> Batch:
        item = self._ready.get()
        if isinstance(item, Exception):
            raise item
        return item

    def _fill_queue(self) -> None:
        """Fill the queue until stopped; pass on exceptions of the source."""
        while not self._stop.is_set():
            try:
                item: Batch | Exception = next(self._source)
            except Exception as error:  # raised again in __next__
                item = error
            while not self._stop.is_set():
                try:
                    self._ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(item, Exception):
                return
