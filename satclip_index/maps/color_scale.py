"""The color scale of similarity: from pale for common to dark for rare similarities."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..storage.manifest import ResolutionEntry

INK, SOFT, SEA, PAPER = (
    "#1a1a1a",
    "#5a5a5a",
    "#dbe3e8",
    "#ffffff",
)  # lines and titles, other text, areas without data, background

# Lightness, chroma and hue (degrees) in Oklab, within the sRGB gamut. Lightness falls monotonically, so that the order
# of the colors survives gray print and color blindness; hue only adds to it.
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
_TENFOLDS = 3  # the darkest color is for one pair in 10^3, or fewer


@lru_cache(maxsize=1)
def palette() -> NDArray[np.uint8]:
    """Return 256 colors from pale to dark, (256, 3) sRGB, at equal distances in Oklab."""
    unwrapped_hue = np.unwrap(_PATH[:, 2], period=360)
    along, fine = np.arange(len(_PATH)), np.linspace(0, len(_PATH) - 1, 4096)
    light, chroma, hue = (np.interp(fine, along, values) for values in (_PATH[:, 0], _PATH[:, 1], unwrapped_hue))
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
    """Return a color, (3,) uint8, as ``#rrggbb``."""
    return "#" + bytes(color[:3].tolist()).hex()


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps similarity to color by its rarity among random pairs of land cells.

    Parameters
    ----------
    entry : ResolutionEntry
        The manifest's entry of the resolution that was searched, which has the similarities of random pairs.

    Notes
    -----
    The scale is logarithmic in rarity: the similarities that one in ten, one in a hundred and one in a thousand random
    pairs reach are a third of the colors apart. A scale linear in similarity would spend two fifths of the colors on
    similarities below the median of random pairs, and depend on the encoder; a scale linear in percentile would leave 3
    of 256 colors to the highest percentile, which matters most.
    """

    entry: ResolutionEntry

    def position(self, similarity: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the position of each similarity on the scale, from 0 (pale) to 1 (dark); NaN for NaN."""
        share_above = 1 - self.entry.percentile(similarity) / 100
        position: NDArray[np.float64] = -np.log10(np.maximum(share_above, 10.0**-_TENFOLDS)) / _TENFOLDS
        return np.clip(position, 0.0, 1.0)

    def paint(self, similarity: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the color of each similarity, (..., 4) uint8: red, green, blue and opacity, all 0 for NaN."""
        return np.where(np.isnan(similarity)[..., None], np.uint8(0), _opaque()[self.steps(similarity)])

    def steps(self, similarity: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the number of each similarity's color among the 256; 0 for NaN."""
        finite = np.where(np.isnan(similarity), np.float32(-1), similarity)
        return np.rint(self.position(finite) * (_COLORS - 1)).astype(np.intp)

    def ticks(self) -> list[tuple[float, str, float]]:
        """Return the ticks of the scale: position, share of random pairs that reach it, and similarity."""
        names = ["all", *(f"1 in {10**n:,}" for n in range(1, _TENFOLDS + 1))]
        similarities = [self.entry.similarity_at(100 * (1 - 10.0**-n)) for n in range(_TENFOLDS + 1)]
        return [
            (n / _TENFOLDS, name, similarity)
            for n, (name, similarity) in enumerate(zip(names, similarities, strict=True))
        ]


@lru_cache(maxsize=1)
def _opaque() -> NDArray[np.uint8]:
    return np.hstack([palette(), np.full((_COLORS, 1), 255, np.uint8)])
