"""Multinomial logistic regression over folds, fast because it is fitted in its own eigenbasis."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from .ridge import ring

FloatMatrix = NDArray[np.float64]
IntVector = NDArray[np.int64]
PENALTIES = (1000.0, 100.0, 10.0, 1.0)
"""Half the factor of the squared weights, per standardised feature; strong ones first, each starts the next."""
MAX_ITERATIONS = 40


class LogisticFolds:
    """Logistic regression with a squared penalty, trained on all folds but one at a time.

    Parameters
    ----------
    x : (n, d) float64
        Features; standardised over all rows, which asks for no target.
    y : (n, k) float64
        An indicator column for each class.
    fold : (n,) int64
        The fold of each row, in [0, folds); at least three.

    Notes
    -----
    The penalty for a held-out fold is the one with the least log loss when each of its two neighbours in the ring of
    folds is left out as well. Weights are sought by L-BFGS along the principal directions of the features, each scaled
    by Böhning's bound on the curvature (1992, Ann. Inst. Statist. Math. 44: half the variance, plus the penalty): there
    a few steps reach what takes hundreds in correlated embeddings.
    """

    name = "logistic"

    def __init__(self, x: FloatMatrix, y: FloatMatrix, fold: IntVector) -> None:
        deviation = x.std(axis=0)
        z = (x - x.mean(axis=0)) / np.where(
            deviation > 1e-12 * np.abs(x).max(axis=0, initial=1e-300), deviation, np.inf
        )
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
            for at, penalty in enumerate(PENALTIES):
                weights = self._fit(train, penalty, weights)
                path.append(weights)
                loss[one, at] += self._log_loss(np.flatnonzero(fold == other), weights)
                loss[other, at] += self._log_loss(np.flatnonzero(fold == one), weights)
            paths[one] = path
        best = loss.argmin(axis=1)
        self.penalties = [PENALTIES[int(at)] for at in best]
        self._start = [paths[number][int(at)] for number, at in enumerate(best)]

    def predict(self, held: int, rows: IntVector, extra: IntVector | None = None) -> FloatMatrix:
        """Return the log-probability of each class for rows, as :meth:`RidgeFolds.predict` does: (m, k) float64."""
        train = np.flatnonzero(self._fold != held)
        if extra is not None:
            train = np.concatenate([train, extra])
        weights = self._fit(train, self.penalties[held], self._start[held])
        return self._log_probability(rows, weights)

    def _log_probability(self, rows: IntVector, weights: FloatMatrix) -> FloatMatrix:
        out: FloatMatrix = log_softmax(self._x[rows] @ weights[1:] + weights[0], axis=1)
        return out

    def _log_loss(self, rows: IntVector, weights: FloatMatrix) -> float:
        # scikit-learn's log_loss takes probabilities, which round to 0 where a wrong model is certain.
        return -float(np.sum(self._y[rows] * self._log_probability(rows, weights)))

    def _fit(self, rows: IntVector, penalty: float, start: FloatMatrix) -> FloatMatrix:
        """Return the weights, (1 + directions, k) with the intercept first, from those of a neighbouring problem."""
        share = len(rows) / len(self._y)
        scale = 1 / np.sqrt(np.concatenate([[len(rows)], self._variance * share]) / 2 + penalty)[:, None]
        x = np.concatenate([np.ones((len(rows), 1)), self._x[rows]], axis=1) * scale.T
        x = x.astype(np.float32)  # half the time, and the steps stop long before its last digits
        y, decay = self._y[rows], penalty * scale**2
        decay[0] = 0.0

        def objective(flat: FloatMatrix) -> tuple[float, FloatMatrix]:
            w = flat.reshape(start.shape)
            log_p = log_softmax((x @ w.astype(np.float32)).astype(np.float64), axis=1)
            value = float(-np.sum(y * log_p) + 0.5 * np.sum(decay * w**2))
            slope = x.T @ (np.exp(log_p) - y).astype(np.float32)
            return value, (slope + decay * w).ravel()

        options = {"maxiter": MAX_ITERATIONS, "ftol": 1e-6, "gtol": 1e-6 * len(rows)}
        found = minimize(objective, (start / scale).ravel(), jac=True, method="L-BFGS-B", options=options)
        out: FloatMatrix = found.x.reshape(start.shape) * scale
        return out
