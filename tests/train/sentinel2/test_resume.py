import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from satclip_index.encoder.location_encoder import Encoder
from satclip_index.errors import ConfigError
from satclip_train.sentinel2 import lightning_module
from satclip_train.sentinel2.augment import derive_seed
from satclip_train.sentinel2.compute_features import compute_features
from satclip_train.sentinel2.train import train_on_tiles

from ...processes import finished
from .fixtures import environment, losses, small_config, to_toml, write_data_set

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    write_data_set(folder / "s2", 18)
    compute_features(small_config(folder / "s2", cache=folder / "features"))
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _config(folder, source):
    """Everything that draws or has a state is on: dropout, jitter, views, warm-up, cosine, clipping, accumulation."""
    return small_config(
        folder / "s2",
        cache=folder / "features" if source == "cache" else "",
        training={
            "batch_size": 4,
            "accumulate": 2,
            "max_epochs": 7 if source == "tiles" else 40,
            "learning_rate": 3e-3,
            "schedule": "cosine",
            "warmup_steps": 3,
            "clip_norm": 0.5,
            "patience": 100,
        },
    )


KILLED = """
import os, signal, sys
from satclip_train.sentinel2.train import train_on_tiles
def progress(done, total):
    if done == 14:  # in the middle of the fourth epoch, of four batches
        os.kill(os.getpid(), signal.SIGKILL)
train_on_tiles(sys.argv[1], out=sys.argv[2], progress=progress)
"""


@pytest.mark.parametrize("source", ["cache", pytest.param("tiles", marks=pytest.mark.slow)])
def test_a_killed_run_that_is_resumed_has_the_loss_curve_of_one_that_was_not(folder, source, tmp_path):
    config = _config(folder, source)
    to_toml(config, tmp_path / "c.toml")
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    train_on_tiles(config, out=whole)
    killed = finished([sys.executable, "-c", KILLED, "c.toml", broken], cwd=tmp_path, env=environment())
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not broken.exists()
    train_on_tiles(config, out=broken, resume=True)
    assert len(list((tmp_path / "broken.run" / "logs").iterdir())) == 2  # it was indeed two runs
    assert sorted(path.name for path in (tmp_path / "broken.run").glob("*.ckpt")) == ["best.ckpt", "last.ckpt"]
    for column, each in (("train_loss", 2), ("val_loss", 1)):
        expected, resumed = (losses(path.with_suffix(".run"), column) for path in (whole, broken))
        assert len(expected) == config.training.max_epochs * each
        assert expected.keys() == resumed.keys()
        difference = max(abs(expected[step] - resumed[step]) for step in expected)
        assert difference < TOLERANCE, (column, difference)
    resumed_at = min(losses_of_version(broken.with_suffix(".run"), 1))
    assert 0 < resumed_at < max(expected)
    lon, lat = np.linspace(-180, 180, 50), np.linspace(-90, 90, 50)
    np.testing.assert_allclose(
        Encoder.load(broken).encode(lon, lat), Encoder.load(whole).encode(lon, lat), atol=TOLERANCE
    )


def losses_of_version(run, version):
    """Return the steps that one log of a run has."""
    rows = (run / "logs" / f"version_{version}" / "metrics.csv").read_text().splitlines()
    at = rows[0].split(",").index("step")
    return [int(row.split(",")[at]) for row in rows[1:]]


def test_a_run_that_is_there_is_not_overwritten_and_not_confused_with_another(folder, tmp_path):
    config = small_config(folder / "s2", cache=folder / "features")
    out = tmp_path / "a.ckpt"
    train_on_tiles(config, out=out)
    before = Encoder.load(out).sha256
    with pytest.raises(ConfigError, match=r"a.run already contains a run. Continue it with --resume"):
        train_on_tiles(config, out=out)
    other = small_config(folder / "s2", cache=folder / "features", training={"learning_rate": 1e-2})
    with pytest.raises(ConfigError, match=r"trained with training.learning_rate = 0.0001, but .* has 0.01"):
        train_on_tiles(other, out=out, resume=True)
    train_on_tiles(config, out=out, resume=True)  # which was finished
    assert Encoder.load(out).sha256 == before


def test_resume_without_a_run_begins_one(folder, tmp_path):
    config = small_config(folder / "s2", cache=folder / "features")
    assert train_on_tiles(config, out=tmp_path / "a.ckpt", resume=True).exists()


def test_no_two_steps_of_a_run_draw_alike(folder, tmp_path, monkeypatch):
    """Views, points and dropout of a step follow from a seed of its own, which a second run has again."""
    runs = []
    for name in ("a", "b"):
        seeds = []

        def noted(*key, seeds=seeds):
            seeds.append(derive_seed(*key))
            return seeds[-1]

        monkeypatch.setattr(lightning_module, "derive_seed", noted)
        config = small_config(folder / "s2", cache=folder / "features", training={"max_epochs": 3, "batch_size": 4})
        train_on_tiles(config, out=tmp_path / f"{name}.ckpt")
        runs.append(seeds)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == len(runs[0]) == 12


def test_the_seed_decides_and_the_generator_of_the_caller_is_left_alone(folder, tmp_path):
    curves, config = [], _config(folder, "cache")
    config = replace(config, training=replace(config.training, max_epochs=10))
    for name in ("a", "b"):
        torch.manual_seed(ord(name))
        before = torch.get_rng_state()
        train_on_tiles(config, out=tmp_path / f"{name}.ckpt")
        assert torch.equal(torch.get_rng_state(), before)
        curves.append(losses(tmp_path / f"{name}.run"))
    assert curves[0] == curves[1]
    assert len(curves[0]) == 20
