"""Geography of an answer: which rows may be in it, and how far apart they must be."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .. import grid


def keep_away(
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    from_lon: NDArray[np.float64],
    from_lat: NDArray[np.float64],
    within_km: float,
) -> NDArray[np.bool_]:
    """Return which points, (n,) bool, lie at least ``within_km`` from every one of some others; at 0 all do."""
    if within_km <= 0:
        return np.ones(lon.size, dtype=bool)
    return grid.distance_km(lon, lat, from_lon, from_lat) >= within_km


def pick_apart(
    ranked: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    *,
    k: int,
    apart_km: float,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the first ``k`` rows, in order, that are each at least ``apart_km`` from all rows picked before.

    Parameters
    ----------
    ranked : iterable of (rows, similarity)
        Batches, most similar first; read only as far as needed.
    lon, lat : (n_rows,) float64
        Where every row is, degrees.
    k : int
        How many to pick.
    apart_km : float
        Great-circle kilometres; 0 picks the first k.

    Returns
    -------
    rows : (m,) int64
    similarity : (m,) float32
        m is less than k only where the candidates run out.
    """
    rows, similarity = np.empty(0, np.int64), np.empty(0, np.float32)
    for batch, alike in ranked:
        if rows.size and apart_km > 0:
            free = keep_away(lon[batch], lat[batch], lon[rows], lat[rows], apart_km)
            batch, alike = batch[free], alike[free]
        while batch.size and rows.size < k:
            taken = k - rows.size if apart_km <= 0 else 1
            rows, similarity = np.append(rows, batch[:taken]), np.append(similarity, alike[:taken])
            batch, alike = batch[taken:], alike[taken:]
            if apart_km > 0:
                free = keep_away(lon[batch], lat[batch], lon[rows[-1:]], lat[rows[-1:]], apart_km)
                batch, alike = batch[free], alike[free]
        if rows.size == k:
            break
    return rows, similarity
