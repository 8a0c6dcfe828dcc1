"""Random convolutional features, shared by the ``random-conv`` towers of both trainers.

After Rolf et al. 2021 (MOSAIKS, doi 10.1038/s41467-021-24638-z).
"""

import torch
from torch import Tensor
from torch.nn import functional

_CONTRAST = 0.7
"""Share of its mean that is subtracted from a filter, so that texture contributes as well as color."""


def random_kernels(*shape: int, generator: torch.Generator) -> Tensor:
    """Return random filters, (..., planes, height, width), whose mean is reduced by ``_CONTRAST``."""
    planes, height, width = shape[-3:]
    kernels: Tensor = torch.randn(*shape, generator=generator) / (planes * height * width) ** 0.5
    kernels -= _CONTRAST * kernels.mean(dim=(-2, -1), keepdim=True)
    return kernels


def rectified_means(response: Tensor, bias: Tensor) -> list[Tensor]:
    """Return the mean over the image of the ReLU of each response and of its negative.

    Parameters
    ----------
    response : (n, filters, height, width) float
        Response of each filter at each position.
    bias : (filters,) float
        Threshold of each filter.

    Returns
    -------
    list of two (n, filters) float
    """
    return [functional.relu(sign * response - bias[:, None, None]).mean(dim=(2, 3)) for sign in (1.0, -1.0)]
