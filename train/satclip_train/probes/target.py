"""The column to be predicted: numbers or classes, and what a prediction of it is worth."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, r2_score, root_mean_squared_error

from satclip_index.errors import TableError

FloatMatrix = NDArray[np.float64]
Task = Literal["regression", "classification"]
FEW_INTEGERS = 20
"""Whole numbers of at most so many different values are taken for classes."""
CLASS_ROWS = 5
"""A class needs so many rows: one for each fold."""
LEAST_ROWS = 20
MOSTLY = 0.5
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """What to predict for each row.

    Parameters
    ----------
    name : str
        Of the column.
    values : (n,) float64 or (n,) int64
        Numbers; or of classes, their positions in ``classes``.
    classes : tuple of str
        In order; empty for regression.
    """

    name: str
    values: NDArray[Any]
    classes: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What kind of prediction this asks for."""
        return "classification" if self.classes else "regression"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the scores; the first is the one to compare."""
        return ("accuracy", "macro-F1") if self.classes else ("R2", "RMSE")

    def matrix(self) -> FloatMatrix:
        """Return what a model is fitted to: (n, 1) the numbers, or (n, classes) an indicator of each class."""
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
            Numbers; or of each class, how strongly the model is for it.
        rows : (m,) int64
            The rows that these are predictions of.

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
    """Return the target that a column holds.

    Parameters
    ----------
    name : str
        Of the column.
    column : (n,) array
        Without missing values.
    task : {"regression", "classification"}, optional
        By default text, booleans and at most 20 different whole numbers are classes, all else is regressed.

    Returns
    -------
    target : Target
        Of the rows that are kept.
    kept : (n,) bool
        All rows but those of classes with fewer than five.
    notes : list of str
        What was decided, for the user.

    Raises
    ------
    TableError
        If the column cannot be predicted: constant, all different labels, or neither numbers nor labels.
    """
    number = column.dtype.kind in "iuf"
    if column.dtype.kind not in "iufbO" or (
        column.dtype.kind == "O" and not all(isinstance(value, str | bool) for value in column)
    ):
        raise TableError(f"Column {name!r} holds neither numbers nor labels; expected numbers, text or booleans.")
    different = np.unique(column if number else column.astype(str))
    if task == "regression" and not number:
        raise TableError(f"Column {name!r} holds text such as {different[0]!r}; regression needs numbers.")
    if len(column) < LEAST_ROWS:
        raise TableError(
            f"Only {len(column)} rows have a place and a value of {name!r}; expected at least {LEAST_ROWS}."
        )
    if different.size == 1:
        raise TableError(f"Column {name!r} is {different[0]!s} in all {len(column)} rows; there is nothing to predict.")
    few = number and different.size <= FEW_INTEGERS and bool(np.all(different == np.round(different)))
    if task == "regression" or (task is None and number and not few):
        notes = [f"{name}: regression, {len(column):,} rows"]
        return Target(name, column.astype(np.float64)), np.ones(len(column), dtype=bool), notes
    if different.size == len(column):
        raise TableError(f"Column {name!r} is different in every row; as classes it can't be predicted.")
    return _classes(name, column)


def mostly_numbers(column: NDArray[Any]) -> bool:
    """Return whether a column of text is one of numbers, with marks such as NA where some are missing."""
    if column.dtype.kind != "O" or not all(isinstance(value, str) for value in column):
        return False
    return bool(np.mean([_NUMBER.fullmatch(value.strip()) is not None for value in column]) > MOSTLY)


def _classes(name: str, column: NDArray[Any]) -> tuple[Target, NDArray[np.bool_], list[str]]:
    if column.dtype.kind == "f" and np.all(column == np.round(column)):
        column = column.astype(np.int64)
    labels, codes, counts = np.unique(
        column if column.dtype.kind in "iuf" else column.astype(str), return_inverse=True, return_counts=True
    )
    enough = counts >= CLASS_ROWS
    if enough.sum() < 2:
        raise TableError(
            f"Column {name!r} has {int(enough.sum())} classes of at least {CLASS_ROWS} rows; expected two or more."
        )
    kept = enough[codes]
    position = np.cumsum(enough) - 1
    target = Target(name, position[codes[kept]].astype(np.int64), tuple(str(label) for label in labels[enough]))
    notes = [f"{name}: classification, {len(target.classes)} classes, {int(kept.sum()):,} rows"]
    if not enough.all():
        notes.append(
            f"classes of fewer than {CLASS_ROWS} rows left out: {(~enough).sum()}, with {(~kept).sum():,} rows"
        )
    return target, kept, notes
