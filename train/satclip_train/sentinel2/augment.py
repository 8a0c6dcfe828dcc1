"""Augmented views of tiles: reflectance, crops, flips and blur, computed on the device of the tiles."""

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from satclip_index.errors import require_extra

from .tiles import B10_INDEX, REFLECTANCE_SCALE

JITTER_DEGREES = 0.01
"""Maximum displacement of a point, as in the released loader."""
BLUR_PIXELS = 3
BLUR_SIGMA = (0.1, 2.0)
AUGMENTATION = f"random crop, flips 0.5, blur {BLUR_PIXELS} sigma {BLUR_SIGMA[0]:g}-{BLUR_SIGMA[1]:g}"
"""Identifies these views in the fingerprint of a cache; the size of the crop depends on the tower."""


def reflectance(pixels: Tensor, *, offset: int = 0) -> Tensor:
    """Return the reflectance of tiles, with zeros for band B10, which the towers expect from level 1C.

    Parameters
    ----------
    pixels : (..., 12, height, width) uint16
        Bands in the order of :data:`satclip_train.sentinel2.tiles.BANDS`.
    offset : int
        Subtracted first, and the result is clipped at 0. It is 1000 for images of processing baseline 04.00 and later
        that were not harmonized.

    Returns
    -------
    (..., 13, height, width) float32
        Digital numbers divided by 10,000.
    """
    values = pixels.to(torch.float32)
    if offset:
        values = (values - offset).clamp_min(0.0)
    zeros = torch.zeros_like(values[..., :1, :, :])
    return torch.cat([values[..., :B10_INDEX, :, :], zeros, values[..., B10_INDEX:, :, :]], dim=-3) / REFLECTANCE_SCALE


class Views(nn.Module):
    """Random views of tiles: crop, horizontal and vertical flip, Gaussian blur.

    Parameters
    ----------
    crop : int
        Edge of a view, in pixels.

    Notes
    -----
    The released recipe (microsoft/satclip, transforms.py): RandomCrop, both flips at probability 1/2, GaussianBlur(3).
    Random draws use torch's CPU generator on every device.
    """

    def __init__(self, crop: int) -> None:
        super().__init__()
        self.crop = crop
        augmentation = _kornia().augmentation
        self.chain = augmentation.AugmentationSequential(
            augmentation.RandomCrop((crop, crop)),
            augmentation.RandomHorizontalFlip(p=0.5),
            augmentation.RandomVerticalFlip(p=0.5),
            augmentation.RandomGaussianBlur((BLUR_PIXELS, BLUR_PIXELS), BLUR_SIGMA, p=1.0),
            data_keys=["input"],
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return one view, (n, bands, crop, crop), of each image (n, bands, height, width)."""
        with torch.no_grad():
            out: Tensor = self.chain(images)
        return out


def center_crop(images: Tensor, crop: int) -> Tensor:
    """Return the centers of images, (..., crop, crop), which validation uses."""
    top, left = (images.shape[-2] - crop) // 2, (images.shape[-1] - crop) // 2
    return images[..., top : top + crop, left : left + crop]


def jitter(lon: Tensor, lat: Tensor, *, degrees: float = JITTER_DEGREES) -> tuple[Tensor, Tensor]:
    """Return points displaced by up to ``degrees`` in both axes; longitudes wrap, latitudes are clipped at the poles.

    Random draws use the CPU, so that the displacements are the same on every device.
    """
    displacement = (torch.rand((2, *lon.shape), dtype=torch.float64) * 2 - 1).to(lon.device) * degrees
    return (lon + displacement[0] + 180) % 360 - 180, (lat + displacement[1]).clamp(-90, 90)


def derive_seed(*key: int) -> int:
    """Return a seed for torch, derived from all numbers of the key, such as run, purpose, epoch, batch and process."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _kornia() -> Any:
    with require_extra("kornia", "train"), warnings.catch_warnings():
        # kornia compiles functions with torch.jit, which torch 2.13 deprecates; this package does not use them.
        warnings.simplefilter("ignore", DeprecationWarning)
        import kornia
    return kornia
