import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from satclip_train.probes.folds import out_of_fold, random_folds
from satclip_train.probes.logistic import LogisticFolds
from satclip_train.probes.ridge import RidgeFolds


def correlated(count, dim, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)) @ rng.normal(size=(dim, dim)) * 10.0 ** rng.uniform(-2, 2, dim) + 3


@pytest.mark.parametrize("classify", [False, True])
def test_ridge_over_folds_is_scikit_learn_s_ridge_on_each_fold(classify):
    x, rng = correlated(200, 15, 0), np.random.default_rng(1)
    y = x @ rng.normal(size=(15, 3)) + rng.normal(size=(200, 3)) * x.std()
    if classify:
        y = np.eye(3)[y.argmax(axis=1)]
    fold = rng.permutation(np.arange(200) % 4)
    models = RidgeFolds(x, y, fold, classify=classify)
    for held in range(4):
        train, test, extra = fold != held, np.flatnonzero(fold == held)[3:], np.flatnonzero(fold == held)[:3]
        scaler = StandardScaler().fit(x[train])
        theirs = Ridge(alpha=models.penalties[held]).fit(scaler.transform(x[train]), y[train])
        np.testing.assert_allclose(models.predict(held, test), theirs.predict(scaler.transform(x[test])), atol=1e-8)
        train[extra] = True  # a few rows of the held-out fold
        scaler = StandardScaler().fit(x[train])
        theirs = Ridge(alpha=models.penalties[held]).fit(scaler.transform(x[train]), y[train])
        predicted = models.predict(held, test, extra)
        np.testing.assert_allclose(predicted, theirs.predict(scaler.transform(x[test])), atol=1e-8)


def test_ridge_survives_more_features_than_rows_and_features_that_never_vary():
    x = np.concatenate([correlated(60, 90, 0), np.full((60, 2), 7.0)], axis=1)
    fold = random_folds(60, 5, 0)
    models = RidgeFolds(x, x[:, :1], fold, classify=False)
    assert np.isfinite(out_of_fold(models, fold)).all()


@pytest.mark.parametrize("penalty", [1000.0, 10.0, 1.0])
def test_logistic_regression_is_scikit_learn_s(penalty):
    x, rng = correlated(300, 20, 2), np.random.default_rng(3)
    codes = (StandardScaler().fit_transform(x) @ rng.normal(size=(20, 3)) + rng.gumbel(size=(300, 3)) * 4).argmax(
        axis=1
    )
    fold = np.arange(300) % 3
    models = LogisticFolds(x, np.eye(3)[codes], fold)
    models.penalties, models._start = [penalty] * 3, [np.zeros((21, 3))] * 3
    ours = np.exp(models.predict(0, np.flatnonzero(fold == 0)))
    z = StandardScaler().fit_transform(x)
    theirs = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=2000).fit(z[fold != 0], codes[fold != 0])
    np.testing.assert_allclose(ours, theirs.predict_proba(z[fold == 0]), atol=5e-3)


@pytest.mark.parametrize("model", [RidgeFolds, LogisticFolds])
def test_targets_of_the_held_out_fold_change_nothing_in_its_model(model):
    x, rng = correlated(150, 6, 4), np.random.default_rng(5)
    y, fold = np.eye(3)[rng.integers(0, 3, 150)], np.arange(150) % 5
    other = y.copy()
    other[fold == 2] = np.roll(other[fold == 2], 1, axis=1)
    more = {"classify": True} if model is RidgeFolds else {}
    rows = np.flatnonzero(fold == 2)
    first, second = (model(x, target, fold, **more).predict(2, rows) for target in (y, other))
    np.testing.assert_allclose(first, second, atol=1e-9)
