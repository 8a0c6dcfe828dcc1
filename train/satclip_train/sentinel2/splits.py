"""The tiles held out for validation: at random, as in the released code, or in whole blocks of the Earth."""

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
        ``random`` draws tiles, as the released code does; a held-out tile may be next to a training tile. ``blocked``
        draws cells of a grid of longitude and latitude, so that held-out tiles are in other places.
    share : float
        Share of the tiles; at least one is held out, unless it is 0. Blocks are drawn until they contain that many.
    block_degrees : float
        Edge of a block.
    seed : int
        Seed of the draw.

    Returns
    -------
    (n,) bool

    Raises
    ------
    ConfigError
        If ``kind`` is unknown, or all tiles are in one block.
    """
    if kind not in SPLITS:
        raise ConfigError(f"data.split is {kind!r}; expected {' or '.join(SPLITS)}.")
    mask = np.zeros(lon.size, dtype=np.bool_)
    if share <= 0 or lon.size < 2:
        return mask
    count = min(max(1, round(share * lon.size)), lon.size - 1)
    rng = np.random.default_rng([seed, 0x53504C54])
    if kind == "random":
        mask[rng.permutation(lon.size)[:count]] = True
        return mask
    # Not blocks.block_of, which numbers blocks in another order: a run in progress would get another split.
    columns = np.floor((lon + 180) % 360 / block_degrees).astype(np.int64)
    rows = np.minimum(np.floor((lat + 90) / block_degrees), np.ceil(180 / block_degrees) - 1).astype(np.int64)
    _, block = np.unique(np.stack([columns, rows]), axis=1, return_inverse=True)
    for drawn in rng.permutation(block.max() + 1):
        if mask.sum() >= count:
            break
        mask |= block == drawn
    if mask.all():
        raise ConfigError(
            f"All {lon.size} tiles are in one block of {block_degrees:g} degrees; lower data.block_degrees."
        )
    return mask
