"""Similarity as colour: how rare it is that two places are so alike, from pale to dark."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..storage.manifest import ResolutionEntry

INK, SOFT, SEA, PAPER = "#1a1a1a", "#5a5a5a", "#dbe3e8", "#ffffff"  # of lines and text, what is not there, paper

# Lightness, chroma and hue (degrees) in Oklab, within what a screen can show. Lightness falls all the way, so that the
# order of the colours survives grey print and every kind of colour blindness; the hue only adds to it.
_PATH = np.array(
    [
        (0.975, 0.018, 105.0),
        (0.885, 0.095, 92.0),
        (0.775, 0.130, 66.0),
        (0.645, 0.150, 38.0),
        (0.505, 0.145, 5.0),
        (0.365, 0.120, 325.0),
        (0.235, 0.080, 295.0),
    ]
)
_COLORS = 256
# Oklab to linear sRGB (Björn Ottosson, "A perceptual color space for image processing", 2020).
_TO_CONES = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
_TENFOLDS = 3  # the darkest colour stands for one pair in 10^3, and fewer


@lru_cache(maxsize=1)
def palette() -> NDArray[np.uint8]:
    """Return 256 colours from pale to dark, (256, 3) sRGB: each as far from the next as any other, in Oklab."""
    turn = np.unwrap(_PATH[:, 2], period=360)
    along, fine = np.arange(len(_PATH)), np.linspace(0, len(_PATH) - 1, 4096)
    light, chroma, hue = (np.interp(fine, along, values) for values in (_PATH[:, 0], _PATH[:, 1], turn))
    lab = np.stack([light, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))], axis=1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))])
    even = np.linspace(0, length[-1], _COLORS)
    lab = np.stack([np.interp(even, length, values) for values in lab.T], axis=1)
    linear = (lab @ _TO_CONES.T) ** 3 @ _TO_RGB.T
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    colors: NDArray[np.uint8] = np.rint(np.clip(encoded, 0, 1) * 255).astype(np.uint8)
    colors.setflags(write=False)
    return colors


def as_hex(color: NDArray[np.uint8]) -> str:
    """Return one colour, (3,) uint8, as ``#rrggbb``."""
    return "#" + bytes(color[:3].tolist()).hex()


@dataclass(frozen=True, slots=True)
class Scale:
    """From similarity to colour, through the similarities of random pairs of land cells that a manifest holds.

    Parameters
    ----------
    entry : ResolutionEntry
        The resolution that the question was asked at.

    Notes
    -----
    What counts is how rare a similarity is. Of random pairs one in ten, in a hundred, in a thousand is so alike: each
    of these steps takes a third of the colours. Colours even in similarity would spend two fifths of them on what is
    less alike than half of all pairs, and mean something else with the next encoder; colours even in percentile would
    leave the best hundredth, which is what one looks for, three of 256.
    """

    entry: ResolutionEntry

    def position(self, similarity: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return where each similarity is on the scale, from 0, pale, to 1, dark; NaN for NaN."""
        rarer = 1 - self.entry.percentile(similarity) / 100
        found: NDArray[np.float64] = -np.log10(np.maximum(rarer, 10.0**-_TENFOLDS)) / _TENFOLDS
        return np.clip(found, 0.0, 1.0)

    def paint(self, similarity: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the colour of each similarity, (..., 4) uint8: red, green, blue and opacity, all 0 where it is NaN."""
        return np.where(np.isnan(similarity)[..., None], np.uint8(0), _opaque()[self.steps(similarity)])

    def steps(self, similarity: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return which of the 256 colours each similarity has; 0 for NaN."""
        held = np.where(np.isnan(similarity), np.float32(-1), similarity)
        return np.rint(self.position(held) * (_COLORS - 1)).astype(np.intp)

    def ticks(self) -> list[tuple[float, str, float]]:
        """Return what to write beside the scale: a position, how many pairs are so alike, and their similarity."""
        names = ["all", *(f"1 in {10**n:,}" for n in range(1, _TENFOLDS + 1))]
        found = [self.entry.similarity_at(100 * (1 - 10.0**-n)) for n in range(_TENFOLDS + 1)]
        return [
            (n / _TENFOLDS, name, similarity) for n, (name, similarity) in enumerate(zip(names, found, strict=True))
        ]


@lru_cache(maxsize=1)
def _opaque() -> NDArray[np.uint8]:
    return np.hstack([palette(), np.full((_COLORS, 1), 255, np.uint8)])
