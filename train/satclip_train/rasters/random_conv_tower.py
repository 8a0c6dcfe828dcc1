"""The frozen ``random-conv`` vision tower: what a place looks like, as one vector, without downloading anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .config import GROUPS, Group, Scale
from .imagery import Imagery
from .patch_statistics import patch_statistics

FloatMatrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Whitening:
    """An affine map that gives a group of features unit variance in every direction it keeps.

    Parameters
    ----------
    center : (d,) float32
        The mean.
    matrix : (d, kept) float32
        Principal directions over their shrunken standard deviations.
    """

    center: FloatMatrix
    matrix: FloatMatrix

    @classmethod
    def fit(cls, features: FloatMatrix, *, keep: int, shrinkage: float) -> "Whitening":
        """Return the whitening of ``features``, scaled so that the mean squared length of a result is 1.

        Parameters
        ----------
        features : (n, d) float32
            A sample.
        keep : int
            Principal components to keep, at most.
        shrinkage : float
            Share of the mean variance that is added to every variance before dividing, so that directions which are
            mostly noise stay small.
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
        What it looks at.
    scales : sequence of Scale
        The patches it takes around a point.
    weights : mapping of str to float
        How much each of :data:`GROUPS` counts in the similarity of two places; 0 leaves a group out.
    filters : int
        Random filters per scale, 3 x 3 over all planes; two features come of each.
    keep, shrinkage : int, float
        See :meth:`Whitening.fit`; per group.
    seed : int
        Of the filters.

    Notes
    -----
    Random convolutional features after Rolf et al. 2021 (MOSAIKS, doi 10.1038/s41467-021-24638-z): ReLU of filters and
    of their negatives, averaged over the patch. ``sun`` is no image but geometry, known wherever a camera hangs: the
    cosine of the latitude and the absolute value of its sine, on which insolation and its seasons depend.
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
        self.kernels = [torch.randn(filters, 8, 3, 3, generator=generator) / 72**0.5 for _ in self.scales]
        self.kernels = [kernel - 0.7 * kernel.mean(dim=(2, 3), keepdim=True) for kernel in self.kernels]
        self.biases = [0.5 * torch.randn(filters, generator=generator) for _ in self.scales]
        self.pixel_mean = torch.zeros(8)
        self.pixel_deviation = torch.ones(8)
        self.whitenings: dict[str, Whitening] = {}

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        return sum(whitening.matrix.shape[1] for whitening in self.whitenings.values())

    def fit(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> "RandomConvTower":
        """Learn means, variances and principal directions from a sample of places; return self."""
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
        """Return what each place looks like.

        Parameters
        ----------
        lon, lat : (n,) float64
            Degrees.

        Returns
        -------
        (n, dim) float32
            The cosine of two rows says how alike two places are.
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
        parts = [
            self._describe(lon[start : start + batch_size], lat[start : start + batch_size])
            for start in range(0, len(lon), batch_size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _describe(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> dict[str, FloatMatrix]:
        """Return the raw features of one batch."""
        groups: dict[str, list[Tensor]] = {name: [] for name in GROUPS if self.weights.get(name, 0.0) > 0}
        for scale, kernel, bias in zip(self.scales, self.kernels, self.biases, strict=True):
            patch = torch.from_numpy(self.imagery.patches(lon, lat, size_km=scale.size_km, pixels=scale.pixels))
            found = patch_statistics(patch)
            if "random" in groups:
                found["random"] = self._convolve(patch, kernel, bias)
            for name in groups.keys() & found.keys():
                groups[name].append(found[name])
        if "sun" in groups:
            phi = torch.from_numpy(np.deg2rad(lat).astype(np.float32))
            groups["sun"].append(torch.stack([torch.cos(phi), torch.sin(phi).abs()], dim=1))
        return {name: torch.cat(parts, dim=1).numpy() for name, parts in groups.items()}

    def _convolve(self, patch: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        """Return the mean of ReLU of each filter and of its negative."""
        planes = ((patch - self.pixel_mean) / self.pixel_deviation).permute(0, 3, 1, 2)
        response = functional.conv2d(planes, kernel) * 3
        positive = functional.relu(response - bias[:, None, None]).mean(dim=(2, 3))
        negative = functional.relu(-response - bias[:, None, None]).mean(dim=(2, 3))
        return torch.cat([positive, negative], dim=1)
