import numpy as np
import pytest

from satclip_index.errors import DataError
from satclip_train.blocks import block_of
from satclip_train.probes.baselines import baseline_features
from satclip_train.probes.folds import blocked_folds, probe, random_folds
from satclip_train.rasters.point_sampling import uniform_points


@pytest.fixture(scope="module")
def places():
    return uniform_points(1500, np.random.default_rng(0))


def test_a_linear_target_is_recovered(places):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(1500, 20)) * 10.0 ** rng.uniform(-3, 3, 20) + 5
    scores = probe(features, features @ rng.normal(size=20) + 3, *places)
    assert scores.metric == "R2"
    assert min(scores.random, scores.blocked) > 0.999


def test_noise_scores_about_zero(places):
    rng = np.random.default_rng(1)
    scores = probe(rng.normal(size=(1500, 30)), rng.normal(size=1500), *places)
    assert abs(scores.random) < 0.02
    assert abs(scores.blocked) < 0.02


def test_separable_labels_are_told_apart_and_noise_is_not(places):
    rng = np.random.default_rng(2)
    labels = rng.choice(["Chad", "Peru", "Fiji"], 1500)
    features = np.eye(3)[np.unique(labels, return_inverse=True)[1]] + rng.normal(0, 0.1, (1500, 3))
    assert probe(features, labels, *places).blocked > 0.99
    noise = probe(rng.normal(size=(1500, 3)), labels, *places)
    assert noise.metric == "accuracy"
    assert noise.random == pytest.approx(1 / 3, abs=0.05)


def test_blocked_folds_share_no_block_and_are_about_equal(places):
    fold, block = blocked_folds(*places, 5, 0), block_of(*places, 10)
    for number in range(5):
        assert not np.intersect1d(block[fold == number], block[fold != number]).size
    assert np.ptp(np.bincount(fold)) < 10
    assert np.bincount(random_folds(1500, 5, 0)).tolist() == [300] * 5


def test_what_only_neighbours_tell_is_seen_by_random_folds_alone(places):
    lon, lat = places
    block = block_of(lon, lat, 10)
    value = np.random.default_rng(0).normal(size=block.max() + 1)[block]
    near = np.eye(block.max() + 1)[block]
    scores = probe(near, value, lon, lat)
    assert scores.random > 0.4
    assert scores.blocked < 0.05


def test_baselines_have_not_seen_an_image(places):
    shapes = {name: rows.shape for name, rows in baseline_features(*places, 6)}
    assert shapes == {
        "lon/lat": (1500, 2),
        "xyz": (1500, 3),
        "harmonics, L = 6": (1500, 36),
        "untrained SIREN, L = 6": (1500, 256),
    }


def test_bad_input_is_one_clear_line(places):
    lon, lat = places
    with pytest.raises(DataError, match="expected the same number of each"):
        probe(np.ones((10, 2)), np.ones(9), lon[:10], lat[:10])
    with pytest.raises(DataError, match="not finite"):
        probe(np.full((1500, 2), np.nan), lon, lon, lat)
    with pytest.raises(DataError, match="folds is 2"):
        probe(np.ones((1500, 2)), lon, lon, lat, folds=2)
    with pytest.raises(DataError, match="are in 1 blocks"):
        probe(np.ones((20, 2)), np.arange(20), np.full(20, 5.0), np.full(20, 5.0))
