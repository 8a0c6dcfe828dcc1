"""Agreement between the nearest neighbors by embedding and the similarity by features of the vision tower."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from satclip_index.geo.sphere import EARTH_RADIUS_KM, unit_vectors


def analogue_agreement(
    embedding: ArrayLike,
    features: ArrayLike,
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    *,
    exclude_within_km: float = 1000.0,
    k: int = 10,
) -> float:
    """Return the mean similarity of places to their distant nearest neighbors, from 0 (chance) to 1 (best possible).

    Parameters
    ----------
    embedding : (n, d) float
        Embeddings of places that the encoder was not trained on.
    features : (n, e) float
        Features of the vision tower for the same places; their cosine is the similarity.
    lon, lat : (n,) float64
        Degrees.
    exclude_within_km : float
        Places within this distance are excluded as neighbors, since their location alone makes them similar.
    k : int
        Number of neighbors of each place, by embedding.

    Returns
    -------
    float
        0 if neighbors are as similar as any two places, 1 if they are the nearest neighbors by ``features``.
    """
    by_embedding, by_features = _cosines(embedding), _cosines(features)
    points = unit_vectors(lon, lat)
    excluded = points @ points.T > np.cos(exclude_within_km / EARTH_RADIUS_KM)
    by_embedding[excluded] = -np.inf
    neighbors = np.argpartition(-by_embedding, k, axis=1)[:, :k]
    similarity = np.take_along_axis(by_features, neighbors, axis=1).mean()
    chance = by_features[~excluded].mean()
    by_features[excluded] = -np.inf
    best = -np.partition(-by_features, k, axis=1)[:, :k].mean()
    return float((similarity - chance) / (best - chance))


def _cosines(rows: ArrayLike) -> NDArray[np.float32]:
    """Return the cosine of every pair of rows."""
    unit = np.asarray(rows, dtype=np.float32)
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    out: NDArray[np.float32] = unit @ unit.T
    return out
