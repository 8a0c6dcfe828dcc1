"""Scores of features by linear and MLP probes: under folds, by the released notebook, and on held-out continents."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from satclip_index.errors import TableError
from satclip_index.progress import Progress, ProgressCounter

from .folds import FoldModels, blocked_folds, out_of_fold, random_folds
from .logistic import LogisticFolds
from .mlp import NOTEBOOK_EPOCHS, MlpFolds, notebook_scores
from .options import ProbeOptions
from .ridge import RidgeFolds
from .scores import Score, values_by_metric
from .target import Target

FloatVector = NDArray[np.float64]
FloatMatrix = NDArray[np.float64]
IntVector = NDArray[np.int64]
MAX_LOGISTIC_CLASSES = 10
"""Up to this many classes, logistic regression is fitted; above it, least squares: 150 classes took it minutes."""
MIN_CONTINENT_ROWS = 20
"""A continent with fewer rows is trained on but not scored."""
SHOTS = (0.0, 0.01, 0.05, 0.10)
"""Shares of the held-out continent's rows that are trained on."""
_DEFAULT = ProbeOptions()


def evaluate(
    features: Mapping[str, FloatMatrix],
    target: Target,
    lon: FloatVector,
    lat: FloatVector,
    options: ProbeOptions = _DEFAULT,
    *,
    progress: Progress | None = None,
) -> list[Score]:
    """Return the scores of each set of features under random and under spatially blocked folds.

    Parameters
    ----------
    features : mapping of str to (n, d) float64
        By name; see :func:`satclip_train.probes.baselines.features_by_name`.
    target : Target
        The values to predict, for the same rows.
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180].
    options : ProbeOptions
        Number and size of the folds, repetitions and probes.
    progress : function, optional
        Called with (fits done, fits in all).

    Returns
    -------
    list of Score
        Computed over all rows together; each row is predicted by a model that was not trained on its fold.

    Raises
    ------
    DataError
        If the points are in fewer blocks than there are folds.
    """
    rows = np.arange(len(target.values))
    folds_by_scheme = {
        "random": [random_folds(len(rows), options.folds, seed) for seed in range(options.seeds)],
        "blocked": [
            blocked_folds(lon, lat, options.folds, seed, degrees=options.block_degrees) for seed in range(options.seeds)
        ],
    }
    kinds, scores = _probe_kinds(target, options), []
    counter = ProgressCounter(progress, len(features) * len(kinds) * len(folds_by_scheme) * options.seeds)
    for name, x in features.items():
        for kind in kinds:
            for scheme, folds in folds_by_scheme.items():
                values = []
                for seed, fold in enumerate(folds):
                    values.append(target.scores(out_of_fold(_fit(kind, x, target, fold, seed), fold), rows))
                    counter.add(1)
                by_metric = values_by_metric(target.metrics, values)
                scores.append(Score(features=name, dim=x.shape[1], probe=kind, setting=scheme, values=by_metric))
    return scores


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
        If the target is categorical, or has no positive maximum to divide by.
    """
    if target.task != "regression":
        raise TableError(f"The notebook's protocol is for regression, but {target.name!r} contains classes.")
    if not target.values.max() > 0:
        raise TableError(
            f"The notebook's protocol divides the target by its maximum, but that of {target.name!r} is not positive."
        )
    counter, scores = ProgressCounter(progress, len(features) * seeds), []
    for name, x in features.items():
        values = []
        for seed in range(seeds):
            values.append(notebook_scores(x, target.values, seed, epochs=epochs))
            counter.add(1)
        by_metric = values_by_metric(("test MSE", "R2"), values)
        scores.append(Score(features=name, dim=x.shape[1], probe="MLP", setting="notebook", values=by_metric))
    return scores


def evaluate_holdout(
    features: Mapping[str, FloatMatrix],
    target: Target,
    continent: NDArray[np.str_],
    options: ProbeOptions = _DEFAULT,
    *,
    progress: Progress | None = None,
) -> list[Score]:
    """Return the scores on each continent of models trained on the others, and on a few of its own rows.

    Parameters
    ----------
    features, target, progress
        As for :func:`evaluate`.
    continent : (n,) str
        The continent of each row.
    options : ProbeOptions
        ``seeds`` and ``mlp`` are used.

    Returns
    -------
    list of Score
        For each continent with at least 20 rows, and for their mean, one score for each share of the continent's rows
        that is added to the training set: none, 1, 5 and 10 %. All shares are scored on the same rows, which are in
        none of them.

    Raises
    ------
    TableError
        If there are fewer than three continents, or none with enough rows.

    Notes
    -----
    The geographic adaptation of Klemmer et al. (2025), with a linear probe. Its penalty is chosen by leaving out one
    of the other continents at a time.
    """
    names, fold = np.unique(continent, return_inverse=True)
    scored = [number for number in range(names.size) if np.sum(fold == number) >= MIN_CONTINENT_ROWS]
    if names.size < 3:
        raise TableError(f"The rows are on {names.size} continents; holding one out needs at least 3.")
    if not scored:
        raise TableError(f"No continent has {MIN_CONTINENT_ROWS} rows or more, so none can be held out.")
    kinds, scores = _probe_kinds(target, options), []
    counter = ProgressCounter(progress, len(features) * len(kinds) * len(scored) * options.seeds)
    for feature_name, x in features.items():
        for kind in kinds:
            values = np.empty((len(scored), options.seeds, len(SHOTS), len(target.metrics)))
            for seed in range(options.seeds):
                models = _fit(kind, x, target, fold, seed)
                for position, held_out in enumerate(scored):
                    for shot, (test, extra) in enumerate(_shots(np.flatnonzero(fold == held_out), seed)):
                        predicted = models.predict(held_out, test, extra)
                        values[position, seed, shot] = target.scores(predicted, test)
                    counter.add(1)
            for group, of_group in [*zip(names[scored], values, strict=True), ("mean", values.mean(axis=0))]:
                scores += [
                    Score(
                        features=feature_name,
                        dim=x.shape[1],
                        probe=kind,
                        setting=f"{share:.0%}" if share else "zero-shot",
                        group=str(group),
                        values=values_by_metric(target.metrics, of_group[:, shot]),
                    )
                    for shot, share in enumerate(SHOTS)
                ]
    return scores


def _shots(rows: IntVector, seed: int) -> Iterator[tuple[IntVector, IntVector]]:
    """Yield, for each share, the rows to score, always the same, and the rows to train on, each set within the next."""
    order = np.random.default_rng(seed).permutation(rows)
    test = order[int(np.ceil(max(SHOTS) * len(rows))) :]
    for share in SHOTS:
        yield test, order[: int(np.ceil(share * len(rows)))]


def _probe_kinds(target: Target, options: ProbeOptions) -> tuple[str, ...]:
    linear = LogisticFolds.name if 0 < len(target.classes) <= MAX_LOGISTIC_CLASSES else RidgeFolds.name
    return (linear, MlpFolds.name) if options.mlp else (linear,)


def _fit(kind: str, x: FloatMatrix, target: Target, fold: IntVector, seed: int) -> FoldModels:
    y, classify = target.matrix(), target.task == "classification"
    if kind == MlpFolds.name:
        return MlpFolds(x, y, fold, classify=classify, seed=seed)
    return LogisticFolds(x, y, fold) if kind == LogisticFolds.name else RidgeFolds(x, y, fold, classify=classify)
