"""Blocks of longitude and latitude whose points are held out together."""

import numpy as np
from numpy.typing import NDArray

FloatVector = NDArray[np.float64]


def block_of(lon: FloatVector, lat: FloatVector, degrees: float) -> NDArray[np.int64]:
    """Return the number of the block, ``degrees`` of longitude by ``degrees`` of latitude, that contains each point.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180].
    degrees : float
        Edge of a block.

    Returns
    -------
    (n,) int64
        Equal for two points if and only if they are in the same block.
    """
    across, down = int(np.ceil(360 / degrees)), int(np.ceil(180 / degrees))
    column = np.floor((np.asarray(lon) + 180.0) / degrees).astype(np.int64) % across
    row = np.minimum(np.floor((np.asarray(lat) + 90.0) / degrees).astype(np.int64), down - 1)
    return row * across + column


def is_held_out(lon: FloatVector, lat: FloatVector, *, degrees: float, share: float, seed: int) -> NDArray[np.bool_]:
    """Return whether each point is in a block that is held out for validation.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180].
    degrees : float
        Edge of a block.
    share : float
        Share of the blocks to hold out, in [0, 1].
    seed : int
        Selects which blocks are held out.

    Returns
    -------
    (n,) bool
        Equal for all points of a block.

    Notes
    -----
    The number of a block is hashed by the finalizer of splitmix64 (Steele et al. 2014), so no list of held-out blocks
    is stored.
    """
    stride = np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    mixed = block_of(lon, lat, degrees).astype(np.uint64) + stride
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed < share * 2.0**64
