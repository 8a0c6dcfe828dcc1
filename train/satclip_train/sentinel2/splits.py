"""Which tiles are for validation: at random, as released, or whole blocks of the Earth."""

import numpy as np
from numpy.typing import NDArray

from satclip_index.errors import ConfigError

SPLITS = ("random", "blocked")


def validation_mask(
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    *,
    kind: str = "random",
    share: float = 0.1,
    block_degrees: float = 10.0,
    seed: int = 0,
) -> NDArray[np.bool_]:
    """Return which tiles are held out for validation.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees.
    kind : {"random", "blocked"}
        ``random`` draws tiles, as the released code does: a held-out tile may lie next to one that trains. ``blocked``
        draws cells of a grid of longitude and latitude, so that validation is elsewhere.
    share : float
        Of the tiles; at least one is held out, unless it is 0. Blocks are drawn until they hold as many.
    block_degrees : float
        Edge of a block.
    seed : int
        Of the draw.

    Returns
    -------
    (n,) bool
    """
    if kind not in SPLITS:
        raise ConfigError(f"data.split is {kind!r}; expected {' or '.join(SPLITS)}.")
    mask = np.zeros(lon.size, dtype=np.bool_)
    if share <= 0 or lon.size < 2:
        return mask
    wanted = min(max(1, round(share * lon.size)), lon.size - 1)
    rng = np.random.default_rng([seed, 0x53504C54])
    if kind == "random":
        mask[rng.permutation(lon.size)[:wanted]] = True
        return mask
    columns = np.floor((lon + 180) % 360 / block_degrees).astype(np.int64)
    rows = np.minimum(np.floor((lat + 90) / block_degrees), np.ceil(180 / block_degrees) - 1).astype(np.int64)
    _, block = np.unique(np.stack([columns, rows]), axis=1, return_inverse=True)
    for drawn in rng.permutation(block.max() + 1):
        if mask.sum() >= wanted:
            break
        mask |= block == drawn
    if mask.all():
        raise ConfigError(
            f"All {lon.size} tiles lie in one block of {block_degrees:g} degrees; lower data.block_degrees."
        )
    return mask
