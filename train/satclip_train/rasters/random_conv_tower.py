"""The frozen ``random-conv`` vision tower: features of global rasters around a point, without a download."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..random_convolutions import random_kernels, rectified_means
from .config import GROUPS, Group, Scale
from .imagery import Imagery
from .patch_statistics import patch_statistics

FloatMatrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Whitening:
    """An affine map that keeps the principal directions of a group of features and scales them to equal variance.

    Parameters
    ----------
    center : (d,) float32
        The mean.
    matrix : (d, kept) float32
        Principal directions divided by their regularized standard deviations.
    """

    center: FloatMatrix
    matrix: FloatMatrix

    @classmethod
    def fit(cls, features: FloatMatrix, *, keep: int, shrinkage: float) -> "Whitening":
        """Return the whitening of ``features``, scaled so that the mean squared norm of a whitened row is 1.

        Parameters
        ----------
        features : (n, d) float32
            A sample.
        keep : int
            Maximum number of principal components to keep.
        shrinkage : float
            Share of the mean variance that is added to every variance before the division, so that noisy directions
            stay small.
        """
        center = features.mean(axis=0)
        deviation = features.std(axis=0) + 1e-6
        scaled = ((features - center) / deviation).astype(np.float64)
        variance, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        order = np.argsort(variance)[::-1][:keep]
        variance, directions = np.maximum(variance[order], 0.0), directions[:, order]
        gain = 1 / np.sqrt(variance + shrinkage * variance.mean() + 1e-9)
        matrix = directions / deviation[:, None] * gain / np.sqrt(np.sum(variance * gain**2))
        return cls(center.astype(np.float32), matrix.astype(np.float32))

    def __call__(self, features: FloatMatrix) -> FloatMatrix:
        """Return (n, kept) whitened features."""
        return ((features - self.center) @ self.matrix).astype(np.float32, copy=False)


class RandomConvTower:
    """Random convolutions and pooled statistics of patches at several scales, whitened group by group.

    Parameters
    ----------
    imagery : Imagery
        The rasters.
    scales : sequence of Scale
        The patches around a point.
    weights : mapping of str to float
        Weight of each of :data:`satclip_train.rasters.config.GROUPS` in the similarity of two places; 0 omits a group.
    filters : int
        Number of random filters per scale, 3 x 3 over all planes; each yields two features.
    keep, shrinkage : int, float
        See :meth:`Whitening.fit`; applied to each group.
    seed : int
        Seed of the filters.

    Notes
    -----
    The group ``random`` contains :mod:`satclip_train.random_convolutions`. The group ``sun`` is computed from the
    latitude alone: its cosine and the absolute value of its sine, which determine insolation and its seasons.
    """

    def __init__(
        self,
        imagery: Imagery,
        *,
        scales: Sequence[Scale],
        weights: Mapping[Group, float],
        filters: int = 48,
        keep: int = 24,
        shrinkage: float = 0.1,
        seed: int = 0,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.imagery = imagery
        self.scales = tuple(scales)
        self.weights: dict[str, float] = dict(weights.items())
        self.keep = keep
        self.shrinkage = shrinkage
        self.kernels = [random_kernels(filters, 8, 3, 3, generator=generator) for _ in self.scales]
        self.biases = [0.5 * torch.randn(filters, generator=generator) for _ in self.scales]
        self.pixel_mean = torch.zeros(8)
        self.pixel_deviation = torch.ones(8)
        self.whitenings: dict[str, Whitening] = {}

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        return sum(whitening.matrix.shape[1] for whitening in self.whitenings.values())

    def fit(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> "RandomConvTower":
        """Estimate means, variances and principal directions from a sample of places; return self."""
        rows = slice(0, 2000)
        patch = self.imagery.patches(lon[rows], lat[rows], size_km=self.scales[0].size_km, pixels=self.scales[0].pixels)
        self.pixel_mean = torch.from_numpy(patch.mean(axis=(0, 1, 2)))
        self.pixel_deviation = torch.from_numpy(patch.std(axis=(0, 1, 2))) + 1e-3
        self.whitenings = {
            name: Whitening.fit(features, keep=self.keep, shrinkage=self.shrinkage)
            for name, features in self.raw_features(lon, lat).items()
        }
        return self

    def features(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> FloatMatrix:
        """Return the features of each place.

        Parameters
        ----------
        lon, lat : (n,) float64
            Degrees.

        Returns
        -------
        (n, dim) float32
            The cosine of two rows is the similarity of two places.
        """
        assert self.whitenings, "fit the tower first"
        raw = self.raw_features(lon, lat)
        return np.concatenate(
            [self.weights[name] * whitening(raw[name]) for name, whitening in self.whitenings.items()], axis=1
        )

    def raw_features(
        self, lon: NDArray[np.float64], lat: NDArray[np.float64], *, batch_size: int = 512
    ) -> dict[str, FloatMatrix]:
        """Return the features of each group in use, before whitening: name to (n, d) float32."""
        batches = [
            self._batch_features(lon[start : start + batch_size], lat[start : start + batch_size])
            for start in range(0, len(lon), batch_size)
        ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def _batch_features(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> dict[str, FloatMatrix]:
        """Return the raw features of one batch."""
        groups: dict[str, list[Tensor]] = {name: [] for name in GROUPS if self.weights.get(name, 0.0) > 0}
        for scale, kernel, bias in zip(self.scales, self.kernels, self.biases, strict=True):
            patch = torch.from_numpy(self.imagery.patches(lon, lat, size_km=scale.size_km, pixels=scale.pixels))
            features = patch_statistics(patch)
            if "random" in groups:
                features["random"] = self._convolve(patch, kernel, bias)
            for name in groups.keys() & features.keys():
                groups[name].append(features[name])
        if "sun" in groups:
            phi = torch.from_numpy(np.deg2rad(lat).astype(np.float32))
            groups["sun"].append(torch.stack([torch.cos(phi), torch.sin(phi).abs()], dim=1))
        return {name: torch.cat(parts, dim=1).numpy() for name, parts in groups.items()}

    def _convolve(self, patch: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        """Return two features of each filter, (n, 2 * filters)."""
        planes = ((patch - self.pixel_mean) / self.pixel_deviation).permute(0, 3, 1, 2)
        response = functional.conv2d(planes, kernel) * 3
        return torch.cat(rectified_means(response, bias), dim=1)
