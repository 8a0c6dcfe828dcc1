"""Linear probes: what a linear model can read from an embedding, under random and under spatially blocked folds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, r2_score

from satclip_index.encoder.location_encoder import Siren
from satclip_index.encoder.spherical_harmonics import real_harmonics
from satclip_index.errors import DataError
from satclip_index.geo.coordinates import check_coordinates

from ..blocks import block_of
from .ridge import PENALTIES, RidgeFolds

FloatMatrix = NDArray[np.float64]
ALPHAS = PENALTIES
BLOCK_DEGREES = 10.0


@dataclass(frozen=True, slots=True)
class ProbeScores:
    """Scores of one table, on predictions for rows that the model behind them had not seen.

    Parameters
    ----------
    metric : {"R2", "accuracy"}
        What the numbers are; both are at most 1, higher is better.
    random, blocked : float
        Over all rows, with rows, or with whole blocks of 10 degrees, dealt into folds.
    """

    metric: Literal["R2", "accuracy"]
    random: float
    blocked: float


def probe(
    features: ArrayLike,
    target: ArrayLike,
    lon: ArrayLike,
    lat: ArrayLike,
    *,
    folds: int = 5,
    seed: int = 0,
) -> ProbeScores:
    """Return how well a linear model predicts ``target`` from ``features`` where it has not been trained.

    Parameters
    ----------
    features : (n, d) float
        Standardised here, on the training folds.
    target : (n,) float, or (n,) of anything else
        Numbers are regressed and scored by R2; labels are classified and scored by accuracy.
    lon, lat : (n,) float
        Degrees; for the blocks.
    folds : int
        At least 3.
    seed : int
        Of the folds.

    Returns
    -------
    ProbeScores

    Raises
    ------
    DataError
        If the lengths differ, a number is missing, or there are too few rows or blocks for the folds.

    Notes
    -----
    Ridge regression; for labels, ridge on their indicator columns and the largest wins. The penalty is chosen anew for
    each fold, by leaving out others of the folds: see :class:`satclip_train.probes.ridge.RidgeFolds`.
    """
    x = np.asarray(features, dtype=np.float64)
    lon, lat = check_coordinates(lon, lat)
    labels = np.asarray(target)
    if not (x.ndim == 2 and len(x) == len(labels) == lon.size):
        raise DataError(f"{len(x)} rows of features, {len(labels)} targets and {lon.size} points; expected one number.")
    if folds < 3:
        raise DataError(f"folds is {folds}; expected at least 3, since the penalty is chosen among the other folds.")
    regression = labels.dtype.kind in "fiu"
    if not np.isfinite(x).all() or (regression and not np.isfinite(labels.astype(np.float64)).all()):
        raise DataError("Features or targets hold values that are not finite; drop or fill those rows.")
    scores = []
    for assignment in (random_folds(len(x), folds, seed), blocked_folds(lon, lat, folds, seed)):
        if regression:
            y = labels.astype(np.float64)
            predicted = RidgeFolds(x, y[:, None], assignment, classify=False).out_of_fold()[:, 0]
            scores.append(float(r2_score(y, predicted)))
        else:
            codes = np.unique(labels, return_inverse=True)[1]
            indicator = np.eye(codes.max() + 1)[codes]
            chosen = RidgeFolds(x, indicator, assignment, classify=True).out_of_fold().argmax(axis=1)
            scores.append(float(accuracy_score(codes, chosen)))
    return ProbeScores("R2" if regression else "accuracy", *scores)


def random_folds(count: int, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each of ``count`` rows, dealt at random: (count,) int64 in [0, folds)."""
    return np.random.default_rng(seed).permutation(np.arange(count) % folds)


def blocked_folds(
    lon: NDArray[np.float64], lat: NDArray[np.float64], folds: int, seed: int, *, degrees: float = BLOCK_DEGREES
) -> NDArray[np.int64]:
    """Return the fold of each point, such that no block of the Earth is in two folds.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees.
    folds, seed : int, int
        Number of folds, and the shuffling of the blocks.
    degrees : float
        Edge of a block.

    Returns
    -------
    (n,) int64
        In [0, folds), about equally many points in each: blocks are dealt in random order, each to the emptiest fold.
    """
    blocks, block, counts = np.unique(block_of(lon, lat, degrees), return_inverse=True, return_counts=True)
    if blocks.size < folds:
        raise DataError(f"The points lie in {blocks.size} blocks of {degrees:g} degrees; {folds} folds need as many.")
    filled, fold_of_block = np.zeros(folds), np.empty(blocks.size, dtype=np.int64)
    for number in np.random.default_rng(seed).permutation(blocks.size):
        fold_of_block[number] = filled.argmin()
        filled[fold_of_block[number]] += counts[number]
    return fold_of_block[block]


def baselines(
    lon: NDArray[np.float64], lat: NDArray[np.float64], legendre_polys: int, *, seed: int = 0
) -> Iterator[tuple[str, FloatMatrix]]:
    """Yield the features an encoder must beat, name and (n, d) float64: nothing in them has seen an image.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees.
    legendre_polys : int
        L of the harmonics.
    seed : int
        Of the untrained network's weights.
    """
    phi, theta = np.deg2rad(lon), np.deg2rad(lat)
    yield "lon/lat", np.stack([lon, lat], axis=1)
    yield "xyz", np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)], axis=1)
    harmonics = real_harmonics(torch.from_numpy(lon), torch.from_numpy(lat), legendre_polys).T
    yield f"harmonics, L = {legendre_polys}", harmonics.numpy()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        network = Siren(legendre_polys**2, 512, 2, 256).double().eval()
        yield f"untrained SIREN, L = {legendre_polys}", network(harmonics).numpy()
