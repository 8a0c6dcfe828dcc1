"""Multinomial logistic regression over folds, fitted in the eigenbasis of the features for speed."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from .ridge import ring, standardize

FloatMatrix = NDArray[np.float64]
IntVector = NDArray[np.int64]
PENALTIES = (1000.0, 100.0, 10.0, 1.0)
"""Candidates: half the factor of the squared weights, per standardized feature. The strongest is fitted first, and its
weights are where the next fit starts."""
MAX_ITERATIONS = 40


class LogisticFolds:
    """Logistic regressions with an L2 penalty, one for each fold, trained on the other folds.

    Parameters
    ----------
    x : (n, d) float64
        Features; standardized over all rows, which uses no target.
    y : (n, k) float64
        One indicator column per class.
    fold : (n,) int64
        The fold of each row, in [0, folds); at least three.

    Notes
    -----
    The penalty for a held-out fold is the one with the lowest log loss on its two neighbors in the ring of folds; see
    :class:`satclip_train.probes.ridge.RidgeFolds`. Weights are fitted by L-BFGS along the principal directions of the
    features, each scaled by Böhning's bound on the curvature (1992, Ann. Inst. Statist. Math. 44: half the variance,
    plus the penalty). This takes a few steps, where correlated embeddings take hundreds.
    """

    name = "logistic"

    def __init__(self, x: FloatMatrix, y: FloatMatrix, fold: IntVector) -> None:
        z = standardize(x)
        variance, directions = np.linalg.eigh(z.T @ z)
        kept = variance > 1e-9 * max(variance.max(initial=0.0), 1e-300)
        self._variance = variance[kept]
        self._x, self._y, self._fold = z @ directions[:, kept], y, fold
        folds = int(fold.max()) + 1
        loss = np.zeros((folds, len(PENALTIES)))
        paths: dict[int, list[FloatMatrix]] = {}
        for one, other in ring(folds):
            train = np.flatnonzero((fold != one) & (fold != other))
            weights = np.zeros((self._x.shape[1] + 1, y.shape[1]))
            path = []
            for number, penalty in enumerate(PENALTIES):
                weights = self._fit(train, penalty, weights)
                path.append(weights)
                loss[one, number] += self._log_loss(np.flatnonzero(fold == other), weights)
                loss[other, number] += self._log_loss(np.flatnonzero(fold == one), weights)
            paths[one] = path
        best = [int(number) for number in loss.argmin(axis=1)]
        self.penalties = [PENALTIES[number] for number in best]
        self._start = [paths[fold_number][number] for fold_number, number in enumerate(best)]

    def predict(self, held_out: int, rows: IntVector, extra: IntVector | None = None) -> FloatMatrix:
        """Return the log-probability of each class, (m, k) float64; for the parameters see `RidgeFolds.predict`."""
        train = np.flatnonzero(self._fold != held_out)
        if extra is not None:
            train = np.concatenate([train, extra])
        weights = self._fit(train, self.penalties[held_out], self._start[held_out])
        return self._log_probability(rows, weights)

    def _log_probability(self, rows: IntVector, weights: FloatMatrix) -> FloatMatrix:
        out: FloatMatrix = log_softmax(self._x[rows] @ weights[1:] + weights[0], axis=1)
        return out

    def _log_loss(self, rows: IntVector, weights: FloatMatrix) -> float:
        # scikit-learn's log_loss takes probabilities, which round to 0 where a wrong model is certain.
        return -float(np.sum(self._y[rows] * self._log_probability(rows, weights)))

    def _fit(self, rows: IntVector, penalty: float, start: FloatMatrix) -> FloatMatrix:
        """Return the weights, (1 + directions, k) with the intercept first; ``start`` is where L-BFGS starts."""
        share = len(rows) / len(self._y)
        scale = 1 / np.sqrt(np.concatenate([[len(rows)], self._variance * share]) / 2 + penalty)[:, None]
        x = np.concatenate([np.ones((len(rows), 1)), self._x[rows]], axis=1) * scale.T
        x = x.astype(np.float32)  # takes half the time; L-BFGS stops long before float32 limits it
        y, decay = self._y[rows], penalty * scale**2
        decay[0] = 0.0

        def objective(flat: FloatMatrix) -> tuple[float, FloatMatrix]:
            w = flat.reshape(start.shape)
            log_p = log_softmax((x @ w.astype(np.float32)).astype(np.float64), axis=1)
            value = float(-np.sum(y * log_p) + 0.5 * np.sum(decay * w**2))
            slope = x.T @ (np.exp(log_p) - y).astype(np.float32)
            return value, (slope + decay * w).ravel()

        options = {"maxiter": MAX_ITERATIONS, "ftol": 1e-6, "gtol": 1e-6 * len(rows)}
        result = minimize(objective, (start / scale).ravel(), jac=True, method="L-BFGS-B", options=options)
        out: FloatMatrix = result.x.reshape(start.shape) * scale
        return out
