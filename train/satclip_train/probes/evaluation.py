"""What embeddings are worth for a column of a table: linear and MLP probes beside baselines."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from satclip_index.checks import check_whole_number
from satclip_index.errors import TableError

from .folds import BLOCK_DEGREES, blocked_folds, random_folds
from .logistic import LogisticFolds
from .mlp import NOTEBOOK_EPOCHS, MlpFolds, notebook_scores
from .ridge import RidgeFolds
from .scores import Score
from .target import Target

FloatVector = NDArray[np.float64]
FloatMatrix = NDArray[np.float64]
IntVector = NDArray[np.int64]
Progress = Callable[[int, int], None]
LOGISTIC_CLASSES = 10
"""Up to so many classes are told apart by logistic regression, more by least squares: 150 classes took it minutes."""
LEAST_HELD_OUT = 20
"""A continent with fewer rows is trained on but not scored."""
SHOTS = (0.0, 0.01, 0.05, 0.10)
"""Shares of the held-out continent's rows that are trained on."""


class Folds(Protocol):
    """Models of one kind, each trained on all folds but one."""

    @property
    def name(self) -> str:
        """What to call them."""

    def predict(self, held: int, rows: IntVector, extra: IntVector | None = None) -> FloatMatrix:
        """Return what the model that has not seen the fold ``held``, but for rows ``extra``, says of rows."""


def evaluate(
    features: Mapping[str, FloatMatrix],
    target: Target,
    lon: FloatVector,
    lat: FloatVector,
    *,
    folds: int = 5,
    seeds: int = 3,
    mlp: bool = False,
    block_degrees: float = BLOCK_DEGREES,
    progress: Progress | None = None,
) -> list[Score]:
    """Return the scores of each set of features under random and under spatially blocked folds.

    Parameters
    ----------
    features : mapping of str to (n, d) float64
        As :func:`satclip_train.probes.baselines.contenders` gives them.
    target : Target
        Of the same rows.
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180].
    folds : int
        At least 3.
    seeds : int
        Repetitions, each with its own folds.
    mlp : bool
        Add the small network to the linear probe.
    block_degrees : float
        Edge of a block.
    progress : function, optional
        Called with (done, total).

    Returns
    -------
    list of Score
        Over all rows at once, each predicted by the model that had not seen its fold.

    Raises
    ------
    DataError
        If the points lie in fewer blocks than there are folds.
    TableError
        If folds or seeds are out of range.
    """
    _check(folds >= 3, f"folds is {folds}; expected at least 3, since the penalty is chosen among the other folds.")
    check_whole_number("seeds", seeds, error=TableError)
    rows, out = np.arange(len(target.values)), []
    dealt = {
        "random": [random_folds(len(rows), folds, seed) for seed in range(seeds)],
        "blocked": [blocked_folds(lon, lat, folds, seed, degrees=block_degrees) for seed in range(seeds)],
    }
    tick = _counter(progress, len(features) * (2 if mlp else 1) * 2 * seeds)
    for name, x in features.items():
        for kind in (_linear(target), "MLP")[: 2 if mlp else 1]:
            for scheme, assignments in dealt.items():
                values = []
                for seed, fold in enumerate(assignments):
                    values.append(target.scores(_out_of_fold(_models(kind, x, target, fold, seed), fold), rows))
                    tick()
                out.append(Score.of(name, x, kind, scheme, target.metrics, values))
    return out


def evaluate_notebook(
    features: Mapping[str, FloatMatrix],
    target: Target,
    *,
    seeds: int = 3,
    epochs: int = NOTEBOOK_EPOCHS,
    progress: Progress | None = None,
) -> list[Score]:
    """Return test MSE and R2 of each set of features by the released notebook's protocol, one split for each seed.

    Raises
    ------
    TableError
        If the target is of classes, or has no positive maximum to be divided by.
    """
    _check(target.task == "regression", f"The notebook's protocol regresses numbers; {target.name!r} holds classes.")
    _check(
        target.values.max() > 0,
        f"The notebook's protocol divides by the maximum, which in {target.name!r} is not positive.",
    )
    tick, out = _counter(progress, len(features) * seeds), []
    for name, x in features.items():
        values = []
        for seed in range(seeds):
            values.append(notebook_scores(x, target.values, seed, epochs=epochs))
            tick()
        out.append(Score.of(name, x, "MLP", "notebook", ("test MSE", "R2"), values))
    return out


def evaluate_holdout(
    features: Mapping[str, FloatMatrix],
    target: Target,
    group: NDArray[np.str_],
    *,
    seeds: int = 3,
    mlp: bool = False,
    progress: Progress | None = None,
) -> list[Score]:
    """Return the scores on each continent of models trained on the others, and on a few of its rows.

    Parameters
    ----------
    features, target, seeds, mlp, progress
        As for :func:`evaluate`.
    group : (n,) str
        The continent of each row.

    Returns
    -------
    list of Score
        For each share of the continent's rows that is trained on too (none, 1, 5 and 10 %), for each continent of at
        least 20 rows, and for their mean. All shares are judged on the same rows, those that no share holds.

    Raises
    ------
    TableError
        If there are fewer than three continents, or none to score.

    Notes
    -----
    The geographic adaptation of Klemmer et al. (2025), with a linear probe. Its penalty is chosen by leaving out
    continents among the others.
    """
    continents, fold = np.unique(group, return_inverse=True)
    scored = [number for number in range(continents.size) if np.sum(fold == number) >= LEAST_HELD_OUT]
    _check(continents.size >= 3, f"The rows lie on {continents.size} continents; holding one out takes at least 3.")
    _check(bool(scored), f"No continent has {LEAST_HELD_OUT} rows or more; there is none to hold out.")
    kinds = (_linear(target), "MLP")[: 2 if mlp else 1]
    tick, out = _counter(progress, len(features) * len(kinds) * len(scored) * seeds), []
    for name, x in features.items():
        for kind in kinds:
            found = np.empty((len(scored), seeds, len(SHOTS), 2))
            for seed in range(seeds):
                models = _models(kind, x, target, fold, seed)
                for at, held in enumerate(scored):
                    for shot, (test, extra) in enumerate(_shots(np.flatnonzero(fold == held), seed)):
                        found[at, seed, shot] = target.scores(models.predict(held, test, extra), test)
                    tick()
            for where, values in [*zip(continents[scored], found, strict=True), ("mean", found.mean(axis=0))]:
                for shot, share in enumerate(SHOTS):
                    setting = f"{share:.0%}" if share else "zero-shot"
                    out.append(Score.of(name, x, kind, setting, target.metrics, values[:, shot], group=str(where)))
    return out


def _shots(rows: IntVector, seed: int) -> Iterator[tuple[IntVector, IntVector]]:
    """Yield the rows to score, always the same, and the rows to train on, each share holding the one before."""
    order = np.random.default_rng(seed).permutation(rows)
    test = order[int(np.ceil(max(SHOTS) * len(rows))) :]
    for share in SHOTS:
        yield test, order[: int(np.ceil(share * len(rows)))]


def _linear(target: Target) -> str:
    return LogisticFolds.name if 0 < len(target.classes) <= LOGISTIC_CLASSES else RidgeFolds.name


def _models(kind: str, x: FloatMatrix, target: Target, fold: IntVector, seed: int) -> Folds:
    y, classify = target.matrix(), target.task == "classification"
    if kind == MlpFolds.name:
        return MlpFolds(x, y, fold, classify=classify, seed=seed)
    return LogisticFolds(x, y, fold) if kind == LogisticFolds.name else RidgeFolds(x, y, fold, classify=classify)


def _out_of_fold(models: Folds, fold: IntVector) -> FloatMatrix:
    """Return the prediction for every row by the model that has not seen its fold."""
    parts = [(rows, models.predict(held, rows)) for held in np.unique(fold) for rows in [np.flatnonzero(fold == held)]]
    out = np.empty((len(fold), parts[0][1].shape[1]))
    for rows, predicted in parts:
        out[rows] = predicted
    return out


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    done = iter(range(1, total + 1))
    return lambda: progress(next(done), total) if progress else None


def _check(right: bool, complaint: str) -> None:
    if not right:
        raise TableError(complaint)
