"""Smooth functions of position that a linear model should predict from an embedding."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from satclip_index.geo.sphere import EARTH_RADIUS_KM, unit_vectors

from .random_conv_tower import Whitening


class PositionBumps:
    """Whitened Gaussian bumps around anchors: the position of a place as features for a linear model.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees: the anchors. Drawn like training points, so that there are more on land than at sea.
    widths_km : sequence of float
        Standard deviations of the bumps; every anchor has a bump of each width.
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
        self.anchors = _float32_unit_vectors(lon, lat)
        self.widths_km = tuple(widths_km)
        self.keep = keep
        self.shrinkage = shrinkage
        self.whitening: Whitening | None = None

    @property
    def dim(self) -> int:
        """Width of the features."""
        return min(self.keep, len(self.anchors) * len(self.widths_km))

    def fit(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Self:
        """Estimate the principal directions of the bumps from a sample of places; return self."""
        self.whitening = Whitening.fit(self.raw_features(lon, lat), keep=self.keep, shrinkage=self.shrinkage)
        return self

    def features(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the features, (n, dim) float32, of mean squared norm 1."""
        assert self.whitening is not None, "fit the bumps first"
        return self.whitening(self.raw_features(lon, lat))

    def raw_features(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the height of each bump at each place: (n, anchors * widths) float32 in [0, 1]."""
        exponent = _float32_unit_vectors(lon, lat) @ self.anchors.T - 1  # minus half the squared chord
        return np.concatenate([np.exp(exponent * (EARTH_RADIUS_KM / width) ** 2) for width in self.widths_km], axis=1)


def _float32_unit_vectors(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
    return unit_vectors(lon, lat).astype(np.float32)
