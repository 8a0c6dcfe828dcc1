import numpy as np
import pytest

from satclip_index.errors import TableError
from satclip_index.geo.gazetteer import continents
from satclip_train.probes.evaluation import _shots, evaluate_holdout
from satclip_train.probes.options import ProbeOptions
from satclip_train.probes.target import find_target


def numbers(values):
    return find_target("y", np.asarray(values, dtype=np.float64), "regression")[0]


@pytest.mark.parametrize(
    ("lon", "lat", "continent"),
    [
        (36.8, -1.3, "Africa"),
        (31.2, 30.0, "Africa"),
        (2.3, 48.9, "Europe"),
        (37.6, 55.8, "Europe"),
        (82.9, 55.0, "Asia"),
        (131.9, 43.1, "Asia"),
        (139.7, 35.7, "Asia"),
        (32.9, 39.9, "Asia"),
        (-99.1, 19.4, "North America"),
        (-157.9, 21.3, "North America"),
        (-70.7, -33.4, "South America"),
        (-52.3, 4.9, "South America"),
        (151.2, -33.9, "Oceania"),
        (166.7, -77.8, "Antarctica"),
    ],
)
def test_the_continent_of_a_known_point(lon, lat, continent):
    assert continents(np.array([lon]), np.array([lat])) == [continent]


def test_a_few_rows_of_a_continent_mend_a_planted_offset():
    rng = np.random.default_rng(11)
    group = np.repeat(["A", "B", "C", "D"], 200)
    where = np.eye(4)[np.unique(group, return_inverse=True)[1]]
    shared = rng.normal(size=(800, 3))
    y = shared.sum(axis=1) + where @ [0.0, 10.0, -10.0, 5.0] + rng.normal(0, 0.1, 800)
    scores = evaluate_holdout({"x": np.concatenate([shared, where], axis=1)}, numbers(y), group, ProbeOptions(seeds=2))
    assert [score.setting for score in scores[:4]] == ["zero-shot", "1%", "5%", "10%"]
    assert [score.group for score in scores[::4]] == ["A", "B", "C", "D", "mean"]
    for continent in range(5):
        zero, one, five, ten = (score.mean("RMSE") for score in scores[4 * continent : 4 * continent + 4])
        assert one < zero
        assert max(five, ten) < zero / 3
    mean = np.mean([score.mean("R2") for score in scores[3:16:4]])
    assert scores[19].mean("R2") == pytest.approx(mean)


def test_shares_of_a_continent_are_nested_and_judged_on_the_same_rows():
    rows = np.arange(100, 400)
    parts = list(_shots(rows, 0))
    assert [extra.size for _, extra in parts] == [0, 3, 15, 30]
    for test, extra in parts:
        np.testing.assert_array_equal(test, parts[0][0])
        assert not np.intersect1d(test, extra).size
        assert np.isin(extra, parts[-1][1]).all()
    assert parts[0][0].size == 270


def test_holding_out_takes_three_continents():
    x = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.raises(TableError, match="are on 2 continents"):
        evaluate_holdout({"x": x}, numbers(x[:, 0]), np.repeat(["A", "B"], 30))
    with pytest.raises(TableError, match="No continent has 20 rows"):
        evaluate_holdout({"x": x}, numbers(x[:, 0]), np.repeat(["A", "B", "C", "D"], 15))
