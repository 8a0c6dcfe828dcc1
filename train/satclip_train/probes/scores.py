"""Scores over seeds, as rows for a machine and as rows for a reader."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Score:
    """What one probe on one set of features scored in one setting.

    Parameters
    ----------
    features : str
        An encoder or a baseline.
    dim : int
        Width of the features.
    probe : str
        ridge, logistic or MLP.
    setting : str
        random or blocked folds; notebook; or of a held-out continent, zero-shot or the share trained on.
    group : str
        The continent held out, or ``mean``; else empty.
    values : dict of str to tuple of float
        By metric, a value for each seed.
    """

    features: str
    dim: int
    probe: str
    setting: str
    group: str
    values: dict[str, tuple[float, ...]]

    @classmethod
    def of(
        cls,
        features: str,
        x: NDArray[np.float64],
        probe: str,
        setting: str,
        metrics: Sequence[str],
        values: ArrayLike,
        *,
        group: str = "",
    ) -> Self:
        """Return the score with ``values`` of shape (seeds, metrics)."""
        columns = np.asarray(values, dtype=np.float64).T.tolist()
        return cls(features, x.shape[1], probe, setting, group, dict(zip(metrics, map(tuple, columns), strict=True)))

    def mean(self, metric: str) -> float:
        """Return the mean over seeds."""
        return float(np.mean(self.values[metric]))

    def deviation(self, metric: str) -> float | None:
        """Return the standard deviation over seeds, of a sample; None for a single one."""
        values = self.values[metric]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All the scores for one column of a table.

    Parameters
    ----------
    settings : dict
        What was evaluated and how, as plain values.
    notes : tuple of str
        What the user should know, a line each.
    scores : tuple of Score
        In order.
    """

    settings: dict[str, Any]
    notes: tuple[str, ...]
    scores: tuple[Score, ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each score, with mean and standard deviation of every metric."""
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
        """Return a row for each probe of each set of features, settings side by side, mean ± standard deviation.

        Of continents, which take four settings, only the first metric is shown.
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
                out[key][column] = _brief(metric, score.mean(metric), score.deviation(metric))
        groups = list(dict.fromkeys(score.group for score in self.scores))
        return [row for group in groups for key, row in out.items() if key[0] == group]

    def document(self) -> dict[str, Any]:
        """Return everything, down to the value of each seed."""
        return {
            "settings": self.settings,
            "notes": list(self.notes),
            "scores": [asdict(score) for score in self.scores],
        }


def _brief(metric: str, mean: float, deviation: float | None) -> str:
    """Return what a reader wants of a score; the published test MSE have four decimals."""
    if not np.isfinite(mean):
        return "-"
    form = ".4f" if metric == "test MSE" else ",.0f" if abs(mean) >= 1000 else ".3f"
    return f"{mean:{form}}" + ("" if deviation is None else f" ± {deviation:{form}}")
