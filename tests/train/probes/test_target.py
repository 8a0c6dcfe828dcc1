import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, r2_score, root_mean_squared_error

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
        (np.array([f"name {i}" for i in range(30)], dtype=object), None, "different in every row"),
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


def test_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    y, rows = rng.normal(size=40), rng.permutation(40)[:25]
    said = rng.normal(size=(25, 1))
    expected = (r2_score(y[rows], said), root_mean_squared_error(y[rows], said[:, 0]))
    assert find_target("y", y)[0].scores(said, rows) == pytest.approx(expected)
    names = rng.choice(list("abcd"), 40)
    target, said = find_target("y", names.astype(object))[0], rng.normal(size=(25, 4))
    truth, chosen = names[rows], np.array(list("abcd"))[said.argmax(axis=1)]
    expected = (accuracy_score(truth, chosen), f1_score(truth, chosen, average="macro"))
    assert target.scores(said, rows) == pytest.approx(expected)


def test_text_of_mostly_numbers_is_known():
    assert mostly_numbers(np.array(["1", "-2.5", "3e-4", ".5", "NA"], dtype=object))
    assert not mostly_numbers(np.array(["1", "b", "c"], dtype=object))
    assert not mostly_numbers(np.arange(3.0))
