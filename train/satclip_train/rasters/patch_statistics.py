"""Hand-crafted statistics of a patch: color, season, texture, relief and lights."""

import torch
from torch import Tensor
from torch.nn import functional


def patch_statistics(patch: Tensor) -> dict[str, Tensor]:
    """Return hand-crafted statistics of patches, by group.

    Parameters
    ----------
    patch : (n, p, p, 8) float32
        Planes of ``LOCAL_PLANES``, in [0, 1].

    Returns
    -------
    dict of str to (n, d) float32
        ``colour``, ``season``, ``texture``, ``relief`` and ``lights``.
    """
    summer, winter = spectral_indices(patch[..., 0:3]), spectral_indices(patch[..., 3:6])
    elevation, lights = patch[..., 6:7], patch[..., 7:8]
    summer_mean, winter_mean = _mean(summer), _mean(winter)
    spread = (0.002 + _deviation(elevation)).log()
    extent = elevation.amax(dim=(1, 2)) - elevation.amin(dim=(1, 2))
    dry = (patch[..., 6:7] > 0.01).float()
    return {
        "colour": torch.cat([summer_mean, winter_mean], dim=1),
        "season": torch.cat([summer_mean - winter_mean, _mean((summer - winter).abs())], dim=1),
        "texture": torch.cat(
            [_deviation(summer), _deviation(winter), _roughness(summer[..., 3:5]), _roughness(winter[..., 3:5])], dim=1
        ),
        "relief": torch.cat(
            [
                _mean(elevation),
                (_mean(elevation) + 0.01).sqrt(),
                spread,
                (0.005 + extent).log(),
                (0.001 + _roughness(elevation)).log(),
                _mean(dry),
            ],
            dim=1,
        ),
        "lights": torch.cat([_mean(lights), _mean(lights).sqrt(), _deviation(lights), lights.amax(dim=(1, 2))], dim=1),
    }


def spectral_indices(rgb: Tensor) -> Tensor:
    """Return red, green, blue, brightness, greenness, brownness, water and snow of each pixel.

    Parameters
    ----------
    rgb : (..., 3) float32
        In [0, 1].

    Returns
    -------
    (..., 8) float32
        Greenness is (g - r), brownness is (r - b) and water is max(b - max(r, g), 0), each divided by the sum of the
        three. Snow rises from 0 to 1 as the smallest of the three rises from 0.4 to 0.8.
    """
    red, green, blue = rgb.unbind(dim=-1)
    total = red + green + blue + 0.05
    water = functional.relu(blue - torch.maximum(red, green)) / total
    snow = ((rgb.amin(dim=-1) - 0.4) / 0.4).clamp(0, 1)
    return torch.stack(
        [red, green, blue, (total / 3).sqrt(), (green - red) / total, (red - blue) / total, water, snow], dim=-1
    )


def _mean(planes: Tensor) -> Tensor:
    """Return the mean over the patch."""
    return planes.mean(dim=(1, 2))


def _deviation(planes: Tensor) -> Tensor:
    """Return the standard deviation over the patch."""
    variance = planes.square().mean(dim=(1, 2)) - planes.mean(dim=(1, 2)).square()
    return variance.clamp_min(0).sqrt()


def _roughness(planes: Tensor) -> Tensor:
    """Return the mean absolute step between neighboring pixels."""
    down = (planes[:, 1:] - planes[:, :-1]).abs().mean(dim=(1, 2))
    return down + (planes[:, :, 1:] - planes[:, :, :-1]).abs().mean(dim=(1, 2))
