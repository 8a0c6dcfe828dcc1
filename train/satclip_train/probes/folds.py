"""Folds at random and in spatial blocks, and the R2 or accuracy of a linear probe under both."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, r2_score

from satclip_index.errors import DataError
from satclip_index.geo.coordinates import check_coordinates

from ..blocks import block_of
from .ridge import RidgeFolds

FloatMatrix = NDArray[np.float64]
IntVector = NDArray[np.int64]
BLOCK_DEGREES = 10.0


class FoldModels(Protocol):
    """Models of one kind, one for each fold, trained on the other folds."""

    @property
    def name(self) -> str:
        """Name of this kind of model, as reports show it."""

    def predict(self, held_out: int, rows: IntVector, extra: IntVector | None = None) -> FloatMatrix:
        """Return predictions for rows by the model of fold ``held_out``, trained on its rows ``extra`` as well."""


@dataclass(frozen=True, slots=True)
class ProbeScores:
    """Scores of one table; each row is predicted by a model that was not trained on it.

    Parameters
    ----------
    metric : {"R2", "accuracy"}
        What the scores are; both are at most 1, and higher is better.
    random, blocked : float
        Score over all rows, with rows, or whole blocks of 10 degrees, assigned to folds at random.
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
    """Return how well a linear model predicts ``target`` from ``features`` on rows it was not trained on.

    Parameters
    ----------
    features : (n, d) float
        Standardized by this function, on the training folds.
    target : (n,) float, or (n,) of anything else
        Numbers are regressed and scored by R2; labels are classified and scored by accuracy.
    lon, lat : (n,) float
        Degrees; for the blocks.
    folds : int
        At least 3.
    seed : int
        Seed of the folds.

    Returns
    -------
    ProbeScores

    Raises
    ------
    DataError
        If the lengths differ, a value is not finite, or there are too few rows or blocks for the folds.

    Notes
    -----
    Ridge regression; labels are one-hot encoded, and the largest prediction is the class. The penalty is chosen for
    each fold by leaving out other folds: see :class:`satclip_train.probes.ridge.RidgeFolds`.
    """
    x = np.asarray(features, dtype=np.float64)
    lon, lat = check_coordinates(lon, lat)
    labels = np.asarray(target)
    if not (x.ndim == 2 and len(x) == len(labels) == lon.size):
        raise DataError(
            f"{len(x)} rows of features, {len(labels)} targets and {lon.size} points; expected the same number of each."
        )
    if folds < 3:
        raise DataError(f"folds is {folds}; expected at least 3, since the penalty is chosen among the other folds.")
    regression = labels.dtype.kind in "fiu"
    if not np.isfinite(x).all() or (regression and not np.isfinite(labels.astype(np.float64)).all()):
        raise DataError("Features or targets contain values that are not finite; drop or fill those rows.")
    codes = np.unique(labels, return_inverse=True)[1]
    y = labels.astype(np.float64)[:, None] if regression else np.eye(codes.max() + 1)[codes]
    scores = []
    for fold in (random_folds(len(x), folds, seed), blocked_folds(lon, lat, folds, seed)):
        predicted = out_of_fold(RidgeFolds(x, y, fold, classify=not regression), fold)
        if regression:
            scores.append(float(r2_score(y[:, 0], predicted[:, 0])))
        else:
            scores.append(float(accuracy_score(codes, predicted.argmax(axis=1))))
    return ProbeScores("R2" if regression else "accuracy", *scores)


def out_of_fold(models: FoldModels, fold: IntVector) -> FloatMatrix:
    """Return the prediction for each row by the model of its fold, which was not trained on it: (n, k) float64."""
    rows = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    predicted = [models.predict(int(fold[members[0]]), members) for members in rows]
    out = np.empty((len(fold), predicted[0].shape[1]))
    out[np.concatenate(rows)] = np.concatenate(predicted)
    return out


def random_folds(count: int, folds: int, seed: int) -> IntVector:
    """Return the fold of each of ``count`` rows, assigned at random: (count,) int64 in [0, folds)."""
    return np.random.default_rng(seed).permutation(np.arange(count) % folds)


def blocked_folds(
    lon: NDArray[np.float64], lat: NDArray[np.float64], folds: int, seed: int, *, degrees: float = BLOCK_DEGREES
) -> IntVector:
    """Return the fold of each point, such that the points of a block are all in one fold.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees.
    folds, seed : int, int
        Number of folds, and seed of the order of the blocks.
    degrees : float
        Edge of a block.

    Returns
    -------
    (n,) int64
        In [0, folds), about equally many points in each: blocks are taken in random order, and each is assigned to the
        fold with the fewest points.

    Raises
    ------
    DataError
        If the points are in fewer blocks than there are folds.
    """
    blocks, block, counts = np.unique(block_of(lon, lat, degrees), return_inverse=True, return_counts=True)
    if blocks.size < folds:
        raise DataError(
            f"The points are in {blocks.size} blocks of {degrees:g} degrees; {folds} folds need at least as many."
        )
    points_in_fold, fold_of_block = np.zeros(folds), np.empty(blocks.size, dtype=np.int64)
    for number in np.random.default_rng(seed).permutation(blocks.size):
        fold_of_block[number] = points_in_fold.argmin()
        points_in_fold[fold_of_block[number]] += counts[number]
    return fold_of_block[block]
