"""Scores over seeds, as rows of numbers and as rows of text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of one probe on one set of features in one setting.

    Parameters
    ----------
    features : str
        Name of an encoder or of a baseline.
    dim : int
        Width of the features.
    probe : str
        ``ridge``, ``logistic`` or ``MLP``.
    setting : str
        ``random`` or ``blocked`` folds; ``notebook``; for a held-out continent ``zero-shot``, or the share of its rows
        in the training set.
    group : str
        The held-out continent, or ``mean``; empty otherwise.
    values : dict of str to tuple of float
        By metric, one value for each seed.
    """

    features: str
    dim: int
    probe: str
    setting: str
    group: str = ""
    values: dict[str, tuple[float, ...]]

    def mean(self, metric: str) -> float:
        """Return the mean over seeds."""
        return float(np.mean(self.values[metric]))

    def deviation(self, metric: str) -> float | None:
        """Return the sample standard deviation over seeds; None for a single seed."""
        values = self.values[metric]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def values_by_metric(metrics: Sequence[str], values: ArrayLike) -> dict[str, tuple[float, ...]]:
    """Return the columns of an array of shape (seeds, metrics), by metric."""
    columns = np.asarray(values, dtype=np.float64).T.tolist()
    return dict(zip(metrics, map(tuple, columns), strict=True))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All scores for one column of a table.

    Parameters
    ----------
    settings : dict
        The table, the target, the protocol and the encoders, as plain values.
    notes : tuple of str
        Notes for the user, one line each.
    scores : tuple of Score
        In the order of reports.
    """

    settings: dict[str, Any]
    notes: tuple[str, ...]
    scores: tuple[Score, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each score, with the mean and the standard deviation of every metric."""
        out = []
        for score in self.scores:
            row: dict[str, Any] = {"features": score.features, "dim": score.dim, "probe": score.probe}
            row |= {"continent": score.group} if score.group else {}
            row["setting"] = score.setting
            for metric in score.values:
                row |= {metric: score.mean(metric), f"{metric} std": score.deviation(metric)}
            out.append(row)
        return out

    def table(self) -> list[dict[str, str]]:
        """Return one row for each probe of each set of features: mean ± standard deviation, one column per setting.

        Held-out continents have four settings, so only the first metric is shown.
        """
        out: dict[tuple[str, ...], dict[str, str]] = {}
        for metric in list(self.scores[0].values)[: 1 if self.scores[0].group else None]:
            for score in self.scores:
                key = (score.group, score.features, score.probe)
                if key not in out:
                    out[key] = ({"continent": score.group} if score.group else {}) | {
                        "features": score.features,
                        "dim": str(score.dim),
                        "probe": score.probe,
                    }
                column = metric if score.setting == "notebook" else f"{metric} {score.setting}"
                out[key][column] = _format_score(metric, score.mean(metric), score.deviation(metric))
        groups = list(dict.fromkeys(score.group for score in self.scores))
        return [row for group in groups for key, row in out.items() if key[0] == group]

    def document(self) -> dict[str, Any]:
        """Return settings, notes and scores, with the value of each seed."""
        return {
            "settings": self.settings,
            "notes": list(self.notes),
            "scores": [asdict(score) for score in self.scores],
        }


def _format_score(metric: str, mean: float, deviation: float | None) -> str:
    """Return a score as text, with three decimals; with four for the test MSE, as it is published."""
    if not np.isfinite(mean):
        return "-"
    form = ".4f" if metric == "test MSE" else ",.0f" if abs(mean) >= 1000 else ".3f"
    return f"{mean:{form}}" + ("" if deviation is None else f" ± {deviation:{form}}")
