import numpy as np
import pytest

from satclip_index.errors import TableError
from satclip_train.probes.target import find_target, mostly_numbers


def test_the_task_is_found_from_the_column():
    rng = np.random.default_rng(0)
    assert find_target("t", rng.normal(size=50))[0].task == "regression"
    assert find_target("t", rng.integers(0, 1000, 200))[0].task == "regression"
    assert find_target("t", rng.integers(0, 3, 50))[0].classes == ("0", "1", "2")
    assert find_target("t", rng.integers(0, 3, 50).astype(float))[0].classes == ("0", "1", "2")
    assert find_target("t", rng.random(50) > 0.5)[0].classes == ("False", "True")
    assert find_target("t", np.array(["b", "a"] * 25, dtype=object))[0].classes == ("a", "b")
    assert find_target("t", rng.integers(0, 3, 50), "regression")[0].task == "regression"


def test_rare_classes_are_left_out_and_counted():
    column = np.array(["wet"] * 12 + ["dry"] * 12 + ["odd"] * 4, dtype=object)
    target, kept, notes = find_target("t", column)
    assert target.classes == ("dry", "wet")
    assert kept.tolist() == [True] * 24 + [False] * 4
    assert target.values.tolist() == [1] * 12 + [0] * 12
    assert notes[1] == "classes of fewer than 5 rows left out: 1, with 4 rows"


@pytest.mark.parametrize(
    ("column", "task", "complaint"),
    [
        (np.full(30, 2.5), None, "is 2.5 in all 30 rows"),
        (np.array([f"name {i}" for i in range(30)], dtype=object), None, "different value in every row"),
        (np.array(["a"] * 28 + ["b", "c"], dtype=object), None, "has 1 classes of at least 5 rows"),
        (np.array(["a", "b"] * 15, dtype=object), "regression", "regression needs numbers"),
        (np.arange(8.5), None, "Only 9 rows"),
        (np.array([[1], [2]] * 15 + [None], dtype=object)[:-1], None, "neither numbers nor labels"),
        (np.arange(30).astype("datetime64[D]"), None, "neither numbers nor labels"),
    ],
)
def test_a_column_that_can_not_be_predicted_is_refused(column, task, complaint):
    with pytest.raises(TableError, match=complaint):
        find_target("t", column, task)


@pytest.mark.parametrize("seed", range(5))
def test_r2_and_rmse_are_those_written_out(seed):
    rng = np.random.default_rng(seed)
    y, rows = 1e3 + rng.normal(size=40), rng.permutation(40)[: 25 - 5 * seed]
    predicted = y[rows, None] + rng.normal(size=(rows.size, 1))
    squared = np.sum((y[rows] - predicted[:, 0]) ** 2)
    expected = (1 - squared / np.sum((y[rows] - y[rows].mean()) ** 2), np.sqrt(squared / rows.size))
    assert find_target("y", y)[0].scores(predicted, rows) == pytest.approx(expected, abs=1e-12, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_and_macro_f1_are_those_written_out(seed):
    rng = np.random.default_rng(seed)
    names, rows = np.resize(list("abcdefg"), 80), rng.permutation(80)[: 60 - 14 * seed]
    target, predicted = find_target("y", names.astype(object))[0], rng.normal(size=(rows.size, 7))
    truth, chosen = target.values[rows], predicted.argmax(axis=1)
    right = np.bincount(truth[truth == chosen], minlength=7)
    either = np.bincount(truth, minlength=7) + np.bincount(chosen, minlength=7)
    expected = (np.mean(truth == chosen), np.mean(2 * right[either > 0] / either[either > 0]))
    assert target.scores(predicted, rows) == pytest.approx(expected, abs=1e-12)


def test_r2_of_equal_values_is_nan_even_where_their_mean_is_rounded():
    target = find_target("y", np.concatenate([np.full(10, 0.1), np.arange(20.5)]))[0]
    r2, rmse = target.scores(np.zeros((10, 1)), np.arange(10))
    assert np.isnan(r2)
    assert rmse == pytest.approx(0.1)
    assert np.isnan(target.scores(np.zeros((1, 1)), np.arange(1))[0])


def test_text_of_mostly_numbers_is_known():
    assert mostly_numbers(np.array(["1", "-2.5", "3e-4", ".5", "NA"], dtype=object))
    assert not mostly_numbers(np.array(["1", "b", "c"], dtype=object))
    assert not mostly_numbers(np.arange(3.0))
