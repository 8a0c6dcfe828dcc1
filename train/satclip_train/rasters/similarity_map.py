"""A linear map, folded into the last layer of a trained network, that makes cosines of embeddings similarities."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

_RIDGE = 1e-3  # penalty of the regressions, in units of one observation of unit variance
_RELATIVE_EIGENVALUE = 1e-4  # added to variances, relative to their mean, to bound the gain of weak directions


def similarity_map(
    embedding: NDArray[np.float32],
    looks: NDArray[np.float32],
    nearness: NDArray[np.float32],
    *,
    nearness_share: float,
    rest_share: float,
) -> tuple[Matrix, NDArray[np.float64]]:
    """Return the affine map after which the inner product of embeddings is that of their linear predictions.

    Parameters
    ----------
    embedding : (n, d) float32
        Raw embeddings of a sample of places.
    looks : (n, e) float32
        Features of the vision tower for the same places.
    nearness : (n, f) float32
        Smooth functions of position; see :class:`satclip_train.rasters.position_bumps.PositionBumps`.
    nearness_share, rest_share : float
        Variance of the directions that predict ``nearness``, and of all directions equally, relative to a variance of 1
        for those that predict ``looks``.

    Returns
    -------
    matrix : (d, d) float64
        Invertible, so that linear models predict equally well before and after the map.
    mean : (d,) float64
        Subtracted first, so that the cosine of unrelated places is near 0.

    Notes
    -----
    Training with a contrastive loss and linear readouts leaves the variance of their directions arbitrary.
    With z the whitened embedding and B_t the ridge regression of t on z, the map is the symmetric root of
    G = G_looks + nearness_share G_nearness + rest_share I / d, where G_t = B_t B_t' / trace(B_t B_t'). The inner
    product of two mapped embeddings is then, up to scale, that of their predicted looks, plus the two weaker terms.
    """
    raw = embedding.astype(np.float64)
    mean = raw.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov(raw, rowvar=False))
    whiten = (axes / np.sqrt(variance + _RELATIVE_EIGENVALUE * variance.mean())) @ axes.T
    white = (raw - mean) @ whiten
    dim = raw.shape[1]
    gram = _readout(white, looks) + nearness_share * _readout(white, nearness) + rest_share * np.eye(dim) / dim
    strength, directions = np.linalg.eigh(gram)
    root = (directions * np.sqrt(np.maximum(strength, 0.0))) @ directions.T
    return whiten @ root, mean


def _readout(white: Matrix, target: NDArray[np.float32]) -> Matrix:
    """Return B B' of the ridge regression B of a target on whitened embeddings, (d, d), scaled to a trace of 1."""
    centered = target.astype(np.float64) - target.mean(axis=0, dtype=np.float64)
    rows, dim = white.shape
    weights = np.linalg.solve(white.T @ white / rows + _RIDGE * np.eye(dim), white.T @ centered / rows)
    gram = weights @ weights.T
    normalized: Matrix = gram / np.trace(gram)
    return normalized
