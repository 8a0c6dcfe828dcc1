"""What the cosine of two embeddings should mean: a linear map behind the trained network, part of its last layer."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

_RIDGE = 1e-3  # of the regressions, in units of one observation of unit variance
_RELATIVE_EIGENVALUE = 1e-4  # directions of less variance are not blown up beyond this


def similarity_map(
    embedding: NDArray[np.float32],
    looks: NDArray[np.float32],
    nearness: NDArray[np.float32],
    *,
    nearness_share: float,
    rest_share: float,
) -> tuple[Matrix, NDArray[np.float64]]:
    """Return the affine map after which inner products of embeddings are those of what can be read from them.

    Parameters
    ----------
    embedding : (n, d) float32
        Raw, of a sample of places.
    looks : (n, e) float32
        What the vision tower saw there.
    nearness : (n, f) float32
        Smooth functions of position; see :class:`satclip_train.rasters.position_bumps.PositionBumps`.
    nearness_share, rest_share : float
        Variance given to what predicts nearness, and to all directions alike, against 1 for what predicts looks.

    Returns
    -------
    matrix : (d, d) float64
        Invertible, so that a linear model reads as much after as before.
    mean : (d,) float64
        Taken off first: unlike places come out near a cosine of 0.

    Notes
    -----
    A contrastive loss with linear readouts leaves their directions with whatever variance training found convenient.
    With z the whitened embedding and B_t the ridge regression of t on z, the map is the symmetric root of
    G = G_looks + nearness_share G_nearness + rest_share I / d, where G_t = B_t B_t' / trace(B_t B_t'). The inner
    product of two mapped embeddings is then, up to scale, that of their predicted looks, plus a little of the others.
    """
    raw = embedding.astype(np.float64)
    mean = raw.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov(raw, rowvar=False))
    whiten = (axes / np.sqrt(variance + _RELATIVE_EIGENVALUE * variance.mean())) @ axes.T
    white = (raw - mean) @ whiten
    dim = raw.shape[1]
    wanted = _readout(white, looks) + nearness_share * _readout(white, nearness) + rest_share * np.eye(dim) / dim
    strength, directions = np.linalg.eigh(wanted)
    root = (directions * np.sqrt(np.maximum(strength, 0.0))) @ directions.T
    return whiten @ root, mean


def _readout(white: Matrix, target: NDArray[np.float32]) -> Matrix:
    """Return how much each pair of whitened directions says of a target together, (d, d), with a trace of 1."""
    centred = target.astype(np.float64) - target.mean(axis=0, dtype=np.float64)
    rows, dim = white.shape
    weights = np.linalg.solve(white.T @ white / rows + _RIDGE * np.eye(dim), white.T @ centred / rows)
    together = weights @ weights.T
    share: Matrix = together / np.trace(together)
    return share
