"""The views of a tile that training contrasts: crops, flips and blur, on the tiles' own device."""

from typing import Any

import torch
from satclip_index.errors import MissingExtraError
from torch import Tensor, nn

JITTER_DEG = 0.01
"""How far a point may move, as in the released loader."""
BLUR_PIXELS = 3


class Views(nn.Module):
    """Random views of tiles: crop, horizontal and vertical flip, Gaussian blur.

    Parameters
    ----------
    crop : int
        Pixels a side of a view.

    Notes
    -----
    The released recipe (microsoft/satclip, transforms.py): RandomCrop, both flips at probability 1/2, GaussianBlur(3).
    """

    def __init__(self, crop: int) -> None:
        super().__init__()
        self.crop = crop
        augmentation = _kornia().augmentation
        self.chain = augmentation.AugmentationSequential(
            augmentation.RandomCrop((crop, crop)),
            augmentation.RandomHorizontalFlip(p=0.5),
            augmentation.RandomVerticalFlip(p=0.5),
            augmentation.RandomGaussianBlur((BLUR_PIXELS, BLUR_PIXELS), (0.1, 2.0), p=0.5),
            data_keys=["input"],
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return one view, (n, bands, crop, crop), of each image (n, bands, height, width)."""
        with torch.no_grad():
            out: Tensor = self.chain(images)
        return out

    def describe(self) -> str:
        """Return what identifies these views, for the fingerprint of a cache."""
        return f"crop {self.crop}, flips 0.5, blur {BLUR_PIXELS} sigma 0.1-2.0 p 0.5"


class CentreCrop(nn.Module):
    """The one view that validation and a single-view cache take."""

    def __init__(self, crop: int) -> None:
        super().__init__()
        self.crop = crop

    def forward(self, images: Tensor) -> Tensor:
        """Return the middle of each image."""
        top, left = (images.shape[-2] - self.crop) // 2, (images.shape[-1] - self.crop) // 2
        return images[..., top : top + self.crop, left : left + self.crop]


def jitter(lon: Tensor, lat: Tensor, *, degrees: float = JITTER_DEG) -> tuple[Tensor, Tensor]:
    """Return points moved by up to some degrees each way; longitudes wrap, latitudes stop at the poles."""
    moved_lon = lon + (torch.rand_like(lon) * 2 - 1) * degrees
    moved_lat = lat + (torch.rand_like(lat) * 2 - 1) * degrees
    return (moved_lon + 180) % 360 - 180, moved_lat.clamp(-90, 90)


def _kornia() -> Any:
    try:
        import kornia
    except ImportError:
        raise MissingExtraError("kornia", "train") from None
    return kornia
