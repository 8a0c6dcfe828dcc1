"""The ``random-conv`` tower for tiles: frozen random convolutions, so that nothing need be downloaded."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .tiles import B10_INDEX

# Mean and standard deviation of the reflectance of each band over the 23 tiles of ../shared/data/s2, B10 apart.
BAND_MEAN = (0.184, 0.197, 0.224, 0.254, 0.288, 0.329, 0.341, 0.353, 0.352, 0.359, 0.0, 0.308, 0.256)
BAND_DEVIATION = (0.247, 0.240, 0.225, 0.234, 0.235, 0.215, 0.203, 0.203, 0.191, 0.196, 1.0, 0.191, 0.182)
POOLS = (2, 8, 32)
"""Pixels a side that are averaged before a filter looks: 20, 80 and 320 m of a Sentinel-2 tile."""
FILTERS = 128
_CONTRAST = 0.7  # share of its mean that a filter loses, so that texture counts beside colour


class RandomConv(nn.Module):
    """Random 3 x 3 filters at three scales, and the mean and deviation of every band, under a linear layer ``fc``.

    Parameters
    ----------
    embed_dim : int
        Width of the embedding.
    seed : int
        Of the filters.

    Notes
    -----
    Random convolutional features after Rolf et al. 2021 (MOSAIKS, doi 10.1038/s41467-021-24638-z): ReLU of filters and
    of their negatives, averaged over the tile.
    """

    kernels: Tensor
    biases: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, embed_dim: int, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        bands = len(BAND_MEAN)
        kernels = torch.randn(len(POOLS), FILTERS, bands, 3, 3, generator=generator) / (9 * bands) ** 0.5
        kernels = kernels - _CONTRAST * kernels.mean(dim=(3, 4), keepdim=True)
        kernels[:, :, B10_INDEX] = 0
        self.register_buffer("kernels", kernels)
        self.register_buffer("biases", 0.5 * torch.randn(len(POOLS), FILTERS, generator=generator))
        self.register_buffer("mean", torch.tensor(BAND_MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(BAND_DEVIATION)[:, None, None])
        self.fc = nn.Linear(2 * bands + 2 * FILTERS * len(POOLS), embed_dim)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return what the filters see, (n, dim_features), in reflectances (n, 13, height, width)."""
        planes = (images - self.mean) / self.deviation
        seen = [planes.mean(dim=(2, 3)), planes.std(dim=(2, 3))]
        for pool, kernel, bias in zip(POOLS, self.kernels, self.biases, strict=True):
            # Where pixels are many, every second will do.
            response = functional.conv2d(
                functional.avg_pool2d(planes, pool), kernel, stride=2 if pool == POOLS[0] else 1
            )
            seen += [functional.relu(sign * response - bias[:, None, None]).mean(dim=(2, 3)) for sign in (1.0, -1.0)]
        return torch.cat(seen, dim=1)
