"""The ``random-conv`` tower for tiles: frozen random convolutions, which need no download."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..random_convolutions import random_kernels, rectified_means
from .tiles import B10_INDEX

# Mean and standard deviation of the reflectance of each band over the 23 tiles of ../shared/data/s2, without B10.
BAND_MEAN = (0.184, 0.197, 0.224, 0.254, 0.288, 0.329, 0.341, 0.353, 0.352, 0.359, 0.0, 0.308, 0.256)
BAND_DEVIATION = (0.247, 0.240, 0.225, 0.234, 0.235, 0.215, 0.203, 0.203, 0.191, 0.196, 1.0, 0.191, 0.182)
POOLS = (2, 8, 32)
"""Edge, in pixels, of the average pooling before a filter: 20, 80 and 320 m of a Sentinel-2 tile."""
FILTERS = 128


class RandomConv(nn.Module):
    """Random 3 x 3 filters at three scales, and the mean and deviation of every band, under a linear layer ``fc``.

    Parameters
    ----------
    embed_dim : int
        Width of the embedding.
    seed : int
        Seed of the filters.

    Notes
    -----
    See :mod:`satclip_train.random_convolutions`.
    """

    kernels: Tensor
    biases: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, embed_dim: int, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        bands = len(BAND_MEAN)
        kernels = random_kernels(len(POOLS), FILTERS, bands, 3, 3, generator=generator)
        kernels[:, :, B10_INDEX] = 0
        self.register_buffer("kernels", kernels)
        self.register_buffer("biases", 0.5 * torch.randn(len(POOLS), FILTERS, generator=generator))
        self.register_buffer("mean", torch.tensor(BAND_MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(BAND_DEVIATION)[:, None, None])
        self.fc = nn.Linear(2 * bands + 2 * FILTERS * len(POOLS), embed_dim)

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the features, (n, dim_features), of reflectances, (n, 13, height, width)."""
        planes = (images - self.mean) / self.deviation
        features = [planes.mean(dim=(2, 3)), planes.std(dim=(2, 3))]
        for pool, kernel, bias in zip(POOLS, self.kernels, self.biases, strict=True):
            # At the finest scale, every second pixel is enough.
            response = functional.conv2d(
                functional.avg_pool2d(planes, pool), kernel, stride=2 if pool == POOLS[0] else 1
            )
            features += rectified_means(response, bias)
        return torch.cat(features, dim=1)
