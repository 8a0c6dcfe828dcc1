import re

import numpy as np
import pytest

from satclip_index.checks import check_number, check_whole_number, is_whole_number
from satclip_index.errors import BuildError, QueryError


@pytest.mark.parametrize("value", [1, 7, np.int64(7), np.uint8(7), np.uint64(2**63)])
def test_an_integer_of_python_or_numpy_is_a_whole_number(value):
    assert is_whole_number(value)
    checked = check_whole_number("k", value)
    assert checked == value
    assert type(checked) is int


@pytest.mark.parametrize(
    "value", [True, False, np.True_, 2.0, np.float64(2), np.nan, "2", None, [2], np.array([2]), 2 + 0j]
)
def test_what_is_not_an_integer_is_not_a_whole_number(value):
    assert not is_whole_number(value)
    with pytest.raises(QueryError, match=r"^k is .*; expected a whole number of at least 1\.$"):
        check_whole_number("k", value)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0, {}, "k is 0; expected a whole number of at least 1."),
        (np.int64(-3), {}, "k is -3; expected a whole number of at least 1."),
        (-1, {"low": 0}, "k is -1; expected a whole number of at least 0."),
        (257, {"high": 256}, "k is 257; expected a whole number from 1 to 256."),
        (0, {"high": 10**6}, "k is 0; expected a whole number from 1 to 1,000,000."),
        ("2", {}, "k is '2'; expected a whole number of at least 1."),
        (True, {}, "k is True; expected a whole number of at least 1."),
        (np.float64(2), {}, "k is 2.0; expected a whole number of at least 1."),
    ],
)
def test_a_whole_number_out_of_range_is_named_with_the_range(value, limits, message):
    with pytest.raises(QueryError, match=f"^{re.escape(message)}$"):
        check_whole_number("k", value, **limits)


def test_both_ends_of_a_range_are_included():
    assert [check_whole_number("k", value, low=0, high=2) for value in (0, 1, 2)] == [0, 1, 2]
    assert [check_number("share", value, low=0, high=1) for value in (0, 0.5, 1)] == [0, 0.5, 1]


def test_the_caller_chooses_the_error():
    with pytest.raises(BuildError, match="workers is 0"):
        check_whole_number("workers", 0, error=BuildError)
    with pytest.raises(BuildError, match="share is 2"):
        check_number("share", 2, low=0, high=1, error=BuildError)


@pytest.mark.parametrize("value", [3, 2.5, np.float32(2.5), np.int64(3)])
def test_a_number_of_python_or_numpy_becomes_a_float(value):
    checked = check_number("apart_km", value, low=0)
    assert checked == value
    assert type(checked) is float


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (-1, {"low": 0}, "x is -1; expected a number of at least 0."),
        (1.5, {"low": -1, "high": 1}, "x is 1.5; expected a number from -1 to 1."),
        (np.float64(1.5), {"low": -1, "high": 1}, "x is 1.5; expected a number from -1 to 1."),
        (float("nan"), {"low": 0}, "x is nan; expected a number of at least 0."),
        (float("inf"), {"low": 0}, "x is inf; expected a number of at least 0."),
        (None, {"low": 0}, "x is None; expected a number of at least 0."),
        (True, {"low": 0}, "x is True; expected a number of at least 0."),
        ("1", {"low": 0}, "x is '1'; expected a number of at least 0."),
    ],
)
def test_what_is_not_a_number_in_range_is_named_with_the_range(value, limits, message):
    with pytest.raises(QueryError, match=f"^{re.escape(message)}$"):
        check_number("x", value, **limits)
