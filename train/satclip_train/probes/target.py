"""The column to predict, numbers or classes, and the scores of a prediction."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, r2_score, root_mean_squared_error

from satclip_index.errors import TableError

FloatMatrix = NDArray[np.float64]
Task = Literal["regression", "classification"]
MAX_INTEGER_CLASSES = 20
"""A column of whole numbers with at most this many different values is categorical."""
MIN_CLASS_ROWS = 5
"""A class needs this many rows: one for each fold."""
MIN_ROWS = 20
MIN_NUMBER_SHARE = 0.5
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """The value to predict for each row.

    Parameters
    ----------
    name : str
        Name of the column.
    values : (n,) float64 or (n,) int64
        Numbers, or the position of each row's class in ``classes``.
    classes : tuple of str
        Sorted; empty for regression.
    """

    name: str
    values: NDArray[Any]
    classes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """The kind of prediction."""
        return "classification" if self.classes else "regression"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the scores, the main one first."""
        return ("accuracy", "macro-F1") if self.classes else ("R2", "RMSE")

    def matrix(self) -> FloatMatrix:
        """Return the matrix that a model is fitted to: numbers, (n, 1), or indicators of classes, (n, classes)."""
        if self.classes:
            indicators: FloatMatrix = np.eye(len(self.classes))[self.values]
            return indicators
        column: FloatMatrix = np.asarray(self.values, dtype=np.float64)[:, None]
        return column

    def scores(self, predicted: FloatMatrix, rows: NDArray[np.int64]) -> tuple[float, ...]:
        """Return the scores of a prediction, in the order of ``metrics``.

        Parameters
        ----------
        predicted : (m, 1) or (m, classes) float64
            Numbers, or a score for each class, of which the largest is the prediction.
        rows : (m,) int64
            The rows that are predicted.

        Notes
        -----
        Computed by scikit-learn. R2 is relative to the mean of these rows, and NaN if their values are all equal.
        Macro-F1 is the unweighted mean of F1 over the classes that occur in these rows or in their predictions.
        """
        truth = self.values[rows]
        if self.classes:
            chosen = predicted.argmax(axis=1)
            return float(accuracy_score(truth, chosen)), float(f1_score(truth, chosen, average="macro"))
        numbers = predicted[:, 0]
        r2 = float(r2_score(truth, numbers)) if np.ptp(truth) > 0 else float("nan")
        return r2, float(root_mean_squared_error(truth, numbers))


def find_target(
    name: str, column: NDArray[Any], task: Task | None = None
) -> tuple[Target, NDArray[np.bool_], list[str]]:
    """Return a column as a target.

    Parameters
    ----------
    name : str
        Name of the column.
    column : (n,) array
        Without missing values.
    task : {"regression", "classification"}, optional
        By default, text, booleans and whole numbers of at most 20 different values are classified, and other numbers
        are regressed.

    Returns
    -------
    target : Target
        For the rows that are kept.
    kept : (n,) bool
        False for rows of classes with fewer than five rows.
    notes : list of str
        The task and the rows left out, for the user.

    Raises
    ------
    TableError
        If the column cannot be predicted: it is constant, has a different label in every row, or contains neither
        numbers nor labels.
    """
    is_number = column.dtype.kind in "iuf"
    if column.dtype.kind not in "iufbO" or (
        column.dtype.kind == "O" and not all(isinstance(value, str | bool) for value in column)
    ):
        raise TableError(f"Column {name!r} contains neither numbers nor labels; expected numbers, text or booleans.")
    distinct = np.unique(column if is_number else column.astype(str))
    if task == "regression" and not is_number:
        raise TableError(f"Column {name!r} contains text such as {distinct[0]!r}; regression needs numbers.")
    if len(column) < MIN_ROWS:
        raise TableError(f"Only {len(column)} rows have a point and a value of {name!r}; expected at least {MIN_ROWS}.")
    if distinct.size == 1:
        raise TableError(f"Column {name!r} is {distinct[0]!s} in all {len(column)} rows; there is nothing to predict.")
    few_integers = is_number and distinct.size <= MAX_INTEGER_CLASSES and bool(np.all(distinct == np.round(distinct)))
    if task == "regression" or (task is None and is_number and not few_integers):
        notes = [f"{name}: regression, {len(column):,} rows"]
        return Target(name, column.astype(np.float64)), np.ones(len(column), dtype=bool), notes
    if distinct.size == len(column):
        raise TableError(f"Column {name!r} has a different value in every row and cannot be predicted as classes.")
    return _classes(name, column)


def mostly_numbers(column: NDArray[Any]) -> bool:
    """Return whether a column of text contains mostly numbers, with marks such as NA where some are missing."""
    if column.dtype.kind != "O" or not all(isinstance(value, str) for value in column):
        return False
    return bool(np.mean([_NUMBER.fullmatch(value.strip()) is not None for value in column]) > MIN_NUMBER_SHARE)


def _classes(name: str, column: NDArray[Any]) -> tuple[Target, NDArray[np.bool_], list[str]]:
    if column.dtype.kind == "f" and np.all(column == np.round(column)):
        column = column.astype(np.int64)
    labels, codes, counts = np.unique(
        column if column.dtype.kind in "iuf" else column.astype(str), return_inverse=True, return_counts=True
    )
    enough = counts >= MIN_CLASS_ROWS
    if enough.sum() < 2:
        raise TableError(
            f"Column {name!r} has {int(enough.sum())} classes of at least {MIN_CLASS_ROWS} rows; expected two or more."
        )
    kept = enough[codes]
    position = np.cumsum(enough) - 1
    target = Target(name, position[codes[kept]].astype(np.int64), tuple(str(label) for label in labels[enough]))
    notes = [f"{name}: classification, {len(target.classes)} classes, {int(kept.sum()):,} rows"]
    if not enough.all():
        notes.append(
            f"classes of fewer than {MIN_CLASS_ROWS} rows left out: {(~enough).sum()}, with {(~kept).sum():,} rows"
        )
    return target, kept, notes
