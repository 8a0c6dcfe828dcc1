"""How well an encoder's nearest places elsewhere agree with what the vision tower saw there."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satclip_index.geo.sphere import EARTH_RADIUS_KM


def analogue_agreement(
    embedding: ArrayLike,
    features: ArrayLike,
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    *,
    exclude_within_km: float = 1000.0,
    k: int = 10,
) -> float:
    """Return how alike a place and its nearest neighbours elsewhere look, between chance and the best possible.

    Parameters
    ----------
    embedding : (n, d) float
        Of places that the encoder was not trained on.
    features : (n, e) float
        Of the vision tower, for the same places.
    lon, lat : (n,) float64
        Degrees.
    exclude_within_km : float
        Neighbours nearer than this do not count: they would be found by where they are.
    k : int
        Neighbours of each place.

    Returns
    -------
    float
        0 if neighbours look as alike as any two places, 1 if they are those that the features themselves would choose.
    """
    near, alike = _cosines(embedding), _cosines(features)
    theta, phi = np.deg2rad(lat), np.deg2rad(lon)
    points = np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)], axis=1)
    excluded = points @ points.T > np.cos(exclude_within_km / EARTH_RADIUS_KM)
    near[excluded] = -np.inf
    found = np.take_along_axis(alike, np.argpartition(-near, k, axis=1)[:, :k], axis=1).mean()
    chance = alike[~excluded].mean()
    alike[excluded] = -np.inf
    best = -np.partition(-alike, k, axis=1)[:, :k].mean()
    return float((found - chance) / (best - chance))


def _cosines(rows: ArrayLike) -> NDArray[np.float32]:
    """Return the cosine of every pair of rows."""
    unit = np.asarray(rows, dtype=np.float32)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    out: NDArray[np.float32] = unit @ unit.T
    return out
