"""Geography of an answer: how far apart its rows must be."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .. import grid


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
            free = grid.distance_km(lon[batch], lat[batch], lon[rows], lat[rows]) >= apart_km
            batch, alike = batch[free], alike[free]
        while batch.size and rows.size < k:
            taken = k - rows.size if apart_km <= 0 else 1
            rows, similarity = np.append(rows, batch[:taken]), np.append(similarity, alike[:taken])
            batch, alike = batch[taken:], alike[taken:]
            if apart_km > 0:
                free = grid.distance_km(lon[batch], lat[batch], lon[rows[-1:]], lat[rows[-1:]]) >= apart_km
                batch, alike = batch[free], alike[free]
        if rows.size == k:
            break
    return rows, similarity
