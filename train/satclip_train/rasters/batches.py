"""Batches of fresh places: drawn, described and made ready ahead of the loop that trains on them."""

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

AHEAD = 4
"""Batches made in advance, by a thread of their own."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Places, what they look like and where they are: scaled harmonics (n, L * L), features, position; float32."""

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
    """Yield batches for ever, each of points never drawn before."""
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
    """An iterator that works ahead of its reader, in a thread; use it in a ``with`` statement.

    The order is that of ``source``, so a seed still means one result.
    """

    def __init__(self, source: Iterator[Batch], *, ahead: int = AHEAD) -> None:
        self._source = source
        self._ready: queue.Queue[Batch | Exception] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

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

    def _work(self) -> None:
        """Fill the queue until told to stop; pass on what goes wrong."""
        while not self._stop.is_set():
            try:
                item: Batch | Exception = next(self._source)
            except Exception as error:  # it is raised again where the batch was wanted
                item = error
            while not self._stop.is_set():
                try:
                    self._ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(item, Exception):
                return
