import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import accuracy_score, r2_score

from satclip_index.encoder.location_encoder import Encoder, Hyperparameters, Siren
from satclip_index.errors import DataError, TableError
from satclip_train.blocks import block_of
from satclip_train.probes.baselines import features_by_name
from satclip_train.probes.evaluation import evaluate, evaluate_notebook
from satclip_train.probes.folds import blocked_folds, random_folds
from satclip_train.probes.options import ProbeOptions
from satclip_train.probes.scores import Evaluation
from satclip_train.probes.table_report import evaluate_table
from satclip_train.probes.target import find_target
from satclip_train.rasters.point_sampling import uniform_points

from ...conftest import SHARED

TABLES = SHARED / "tables"
ROWS = 600


@pytest.fixture(scope="module")
def places():
    return uniform_points(ROWS, np.random.default_rng(0))


@pytest.fixture(scope="module")
def small():
    """An encoder of L = 8 with random weights."""
    return Encoder(Siren(64, 16, 1, 12), Hyperparameters(8, 16, 1, 12), name="small")


def numbers(values):
    return find_target("y", np.asarray(values, dtype=np.float64), "regression")[0]


def labels(values):
    return find_target("y", np.asarray(values, dtype=object), "classification")[0]


def by_setting(scores, metric):
    return {score.setting: score.mean(metric) for score in scores}


# Folds


def test_an_independent_fit_on_the_same_folds_agrees(places):
    rng = np.random.default_rng(6)
    x = rng.normal(size=(ROWS, 10))
    y = x @ rng.normal(size=10) + rng.normal(size=ROWS)
    names = np.array(["Chad", "Peru", "Fiji"])[(x[:, :3] + rng.gumbel(size=(ROWS, 3))).argmax(axis=1)]
    fold, predicted, chosen = random_folds(ROWS, 5, 0), np.empty(ROWS), np.empty(ROWS, dtype=object)
    for held in range(5):
        train, test = fold != held, fold == held
        predicted[test] = Ridge(alpha=1.0).fit(x[train], y[train]).predict(x[test])
        chosen[test] = RidgeClassifier().fit(x[train], names[train]).predict(x[test])
    scores = evaluate({"x": x}, numbers(y), *places, ProbeOptions(seeds=1))
    assert scores[0].mean("R2") == pytest.approx(r2_score(y, predicted), abs=0.005)
    scores = evaluate({"x": x}, labels(names), *places, ProbeOptions(seeds=1))
    assert scores[0].probe == "logistic"
    assert scores[0].mean("accuracy") == pytest.approx(accuracy_score(names, chosen.astype(str)), abs=0.02)


def test_a_planted_linear_target_is_recovered_and_noise_is_not(places):
    rng = np.random.default_rng(7)
    x, noise = rng.normal(size=(ROWS, 12)), rng.normal(size=(ROWS, 12))
    scores = evaluate({"x": x, "noise": noise}, numbers(x @ rng.normal(size=12) + 4), *places, ProbeOptions(seeds=2))
    r2 = {(score.features, score.setting): score.values["R2"] for score in scores}
    for setting in ("random", "blocked"):
        assert min(r2["x", setting]) > 0.999
        assert max(map(abs, r2["noise", setting])) < 0.05


def test_the_mlp_probe_learns_what_no_line_can(places):
    rng = np.random.default_rng(7)
    x = rng.normal(size=(ROWS, 4))
    y = np.abs(x[:, 0]) + np.abs(x[:, 1])
    scores = evaluate({"x": x}, numbers(y), *places, ProbeOptions(seeds=1, mlp=True))
    assert [score.probe for score in scores] == ["ridge", "ridge", "MLP", "MLP"]
    assert max(score.mean("R2") for score in scores[:2]) < 0.1
    assert min(score.mean("R2") for score in scores[2:]) > 0.8
    names = np.where(y > np.median(y), "far", "near")
    scores = evaluate({"x": x}, labels(names), *places, ProbeOptions(seeds=1, mlp=True))
    assert scores[0].mean("accuracy") < 0.6
    assert scores[2].mean("accuracy") > 0.85


def test_many_classes_are_told_apart_by_least_squares(places):
    codes = np.arange(ROWS) % 12
    x = np.eye(12)[codes] + np.random.default_rng(0).normal(0, 0.1, (ROWS, 12))
    scores = evaluate({"x": x}, labels([f"class {code}" for code in codes]), *places, ProbeOptions(seeds=1))
    assert {score.probe for score in scores} == {"ridge"}
    assert min(score.mean("accuracy") for score in scores) > 0.99


def test_no_information_gives_zero_r2_or_the_commonest_class(places, small):
    x = {"no information": features_by_name(*places, [small])["no information"]}
    rng = np.random.default_rng(8)
    scores = evaluate(x, numbers(rng.normal(size=ROWS)), *places, ProbeOptions(seeds=1))
    assert abs(scores[0].mean("R2")) < 0.03
    names = np.array(["a", "b", "c"])[np.minimum(rng.integers(0, 5, ROWS), 2)]
    scores = evaluate(x, labels(names), *places, ProbeOptions(seeds=1))
    assert scores[0].mean("accuracy") == pytest.approx(np.mean(names == "c"))


@pytest.mark.parametrize("degrees", [5.0, 10.0, 30.0])
def test_blocked_folds_never_split_a_block(places, degrees):
    for seed in range(3):
        fold, block = blocked_folds(*places, 5, seed, degrees=degrees), block_of(*places, degrees)
        assert all(np.unique(fold[block == number]).size == 1 for number in np.unique(block))
        assert np.unique(fold).size == 5


def test_random_folds_flatter_what_only_interpolates(places):
    """A smooth field, by harmonics that can follow it between the points of training but not into an empty block."""
    rng = np.random.default_rng(9)
    lon, lat = (np.repeat(axis[:150], 4) + rng.normal(0, 2, ROWS) for axis in (places[0], places[1] * 0.9))
    lon, lat = np.clip(lon, -180, 180), np.clip(lat, -90, 90)
    deep = Encoder(Siren(256, 16, 1, 12), Hyperparameters(16, 16, 1, 12), name="deep")
    features = features_by_name(lon, lat, [deep])
    centers = rng.normal(size=(200, 3))
    nearness = features["xyz"] @ (centers / np.linalg.norm(centers, axis=1, keepdims=True)).T
    field = np.exp(100 * (nearness - 1)) @ rng.normal(size=200)
    harmonics = {"harmonics": features["harmonics, L = 16"]}
    scores = by_setting(evaluate(harmonics, numbers(field), lon, lat, ProbeOptions(seeds=2)), "R2")
    assert scores["random"] > 0.9
    assert scores["blocked"] < scores["random"] - 0.2


def test_fewer_blocks_than_folds_is_refused():
    x = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(DataError, match="are in 1 blocks"):
        evaluate({"x": x}, numbers(x[:, 0]), np.full(40, 5.0), np.full(40, 5.0))


def test_features_by_name_contain_the_harmonics_of_each_encoder_once(places, small):
    deep = Encoder(Siren(144, 16, 1, 12), Hyperparameters(12, 16, 1, 12), name="small")
    features = features_by_name(*places, [small, deep, small])
    assert {name: x.shape[1] for name, x in features.items()} == {
        "small": 12,
        "small (2)": 12,
        "small (3)": 12,
        "harmonics, L = 12": 144,
        "harmonics, L = 8": 64,
        "xyz": 3,
        "lon/lat": 2,
        "no information": 1,
    }
    np.testing.assert_array_equal(features["small"], small.encode(*places))


# The released notebook


def test_the_notebook_s_protocol_is_the_same_for_the_same_seed(places):
    rng = np.random.default_rng(10)
    x = rng.normal(size=(200, 5))
    y = numbers(x[:, 0] + 5)
    first, again = (evaluate_notebook({"x": x}, y, seeds=2, epochs=150)[0] for _ in range(2))
    assert first == again
    assert first.setting == "notebook"
    assert len(set(first.values["test MSE"])) == 2
    assert first.mean("R2") > 0.8
    scale = np.var(y.values / y.values.max())
    assert first.mean("test MSE") == pytest.approx((1 - first.mean("R2")) * scale, rel=0.3)


def test_the_notebook_s_protocol_asks_for_numbers_with_a_positive_maximum():
    with pytest.raises(TableError, match="contains classes"):
        evaluate_notebook({}, labels(["a", "b"] * 10))
    with pytest.raises(TableError, match="not positive"):
        evaluate_notebook({}, numbers(-np.arange(30.0)))


# Reports


def test_an_evaluation_is_the_same_numbers_in_every_form(places):
    rng = np.random.default_rng(12)
    x = rng.normal(size=(ROWS, 3))
    scores = evaluate({"x": x}, numbers(x[:, 0] * 5000 + rng.normal(0, 900, ROWS)), *places, ProbeOptions(seeds=3))
    evaluation = Evaluation({"rows": ROWS}, ("a note",), tuple(scores))
    assert json.loads(json.dumps(evaluation.document()))["scores"][0]["values"]["R2"] == list(scores[0].values["R2"])
    rows = evaluation.rows()
    assert list(rows[0]) == ["features", "dim", "probe", "setting", "R2", "R2 std", "RMSE", "RMSE std"]
    assert rows[1]["R2"] == np.mean(scores[1].values["R2"])
    assert rows[1]["R2 std"] == np.std(scores[1].values["R2"], ddof=1)
    (row,) = evaluation.table()
    assert list(row) == ["features", "dim", "probe", "R2 random", "R2 blocked", "RMSE random", "RMSE blocked"]
    assert row["R2 blocked"] == f"{rows[1]['R2']:.3f} ± {rows[1]['R2 std']:.3f}"
    single = evaluate({"x": x}, numbers(x[:, 0]), *places, ProbeOptions(seeds=1))
    assert "±" not in Evaluation({}, (), tuple(single)).table()[0]["R2 random"]


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not TABLES.is_dir(), reason="the real data in ../shared are not here")
def test_real_tables_are_evaluated(small, tmp_path):
    small.save(tmp_path / "small.safetensors")
    notes = []
    evaluation = evaluate_table(
        TABLES / "air_temperature_stations.csv",
        "mean_temperature_c",
        encoders=[tmp_path / "small.safetensors"],
        seeds=1,
        log=notes.append,
    )
    assert notes == ["mean_temperature_c: regression, 3,076 rows"]
    r2 = {(score.features, score.setting): score.mean("R2") for score in evaluation.scores}
    assert r2["harmonics, L = 8", "random"] > r2["harmonics, L = 8", "blocked"] > r2["lon/lat", "blocked"]
    held = evaluate_table(
        TABLES / "populated_places.csv",
        "featurecla",
        encoders=[tmp_path / "small.safetensors"],
        protocol="holdout continent",
        seeds=1,
    )
    assert {score.group for score in held.scores} >= {"Africa", "Asia", "Europe", "Oceania", "mean"}
