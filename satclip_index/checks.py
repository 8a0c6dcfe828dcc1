"""Checks of numbers that a user gives: each returns a plain Python number, or raises an error that names the option."""

import math
from numbers import Integral, Real
from typing import Any

from .errors import QueryError, SatclipIndexError


def is_whole_number(value: Any) -> bool:
    """Return whether a value is an integer of Python or NumPy; True, False, 2.0 and "2" are not."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_whole_number(
    name: str, value: Any, *, low: int = 1, high: int | None = None, error: type[SatclipIndexError] = QueryError
) -> int:
    """Return an integer as a Python int, or raise an error if it is not one or is out of range.

    Parameters
    ----------
    name : str
        The option, for the message.
    value : any
        The value to check.
    low, high : int
        The range, both ends included; no upper end by default.
    error : type
        The exception to raise.
    """
    if not is_whole_number(value) or value < low or (high is not None and value > high):
        raise error(f"{name} is {_shown(value)}; expected a whole number {_range(low, high)}.")
    return int(value)


def check_number(
    name: str, value: Any, *, low: float, high: float | None = None, error: type[SatclipIndexError] = QueryError
) -> float:
    """Return a number as a Python float, or raise an error if it is not one, not finite or out of range.

    Parameters
    ----------
    name : str
        The option, for the message.
    value : any
        The value to check: an integer or a float of Python or NumPy.
    low, high : float
        The range, both ends included; no upper end by default.
    error : type
        The exception to raise.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < low or (high is not None and value > high):
        raise error(f"{name} is {_shown(value)}; expected a number {_range(low, high)}.")
    return float(value)


def _range(low: float, high: float | None) -> str:
    return (
        f"of at least {low:g}" if high is None else f"from {low:g} to {high:{',' if isinstance(high, int) else ',g'}}"
    )


def _shown(value: Any) -> str:
    """Return a value for a message: numbers as Python writes them, so that NumPy's do not read ``np.int64(0)``."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return str(value) if is_number else repr(value)
