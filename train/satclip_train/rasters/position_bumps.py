"""Smooth functions of position, which an embedding should keep readable beside what a place looks like."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from satclip_index.geo.sphere import EARTH_RADIUS_KM

from .random_conv_tower import Whitening


class PositionBumps:
    """Gaussian bumps around anchors, whitened: where a place is, as a linear model can use it.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees: the anchors. Drawn like training points, so that land is described more finely than the sea.
    widths_km : sequence of float
        Standard deviations of the bumps; every anchor has one of each.
    keep, shrinkage : int, float
        See :meth:`satclip_train.rasters.random_conv_tower.Whitening.fit`.
    """

    def __init__(
        self,
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
        *,
        widths_km: Sequence[float],
        keep: int = 200,
        shrinkage: float = 1.0,
    ) -> None:
        self.anchors = _directions(lon, lat)
        self.widths_km = tuple(widths_km)
        self.keep = keep
        self.shrinkage = shrinkage
        self.whitening: Whitening | None = None

    @property
    def dim(self) -> int:
        """Width of the features."""
        return min(self.keep, len(self.anchors) * len(self.widths_km))

    def fit(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Self:
        """Learn the principal directions of the bumps from a sample of places; return self."""
        self.whitening = Whitening.fit(self.raw_features(lon, lat), keep=self.keep, shrinkage=self.shrinkage)
        return self

    def features(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return (n, dim) float32, of mean squared length 1."""
        assert self.whitening is not None, "fit the bumps first"
        return self.whitening(self.raw_features(lon, lat))

    def raw_features(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the height of each bump at each place: (n, anchors * widths) float32 in [0, 1]."""
        below = _directions(lon, lat) @ self.anchors.T - 1  # half the squared chord, negative
        return np.concatenate([np.exp(below * (EARTH_RADIUS_KM / width) ** 2) for width in self.widths_km], axis=1)


def _directions(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the unit vector of each point."""
    phi, theta = np.deg2rad(lon), np.deg2rad(lat)
    xyz = np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)], axis=1)
    return xyz.astype(np.float32)
