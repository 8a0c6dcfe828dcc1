import json
import sys
from pathlib import Path

import pytest
import torch

from satclip_train.sentinel2.compute_features import compute_features
from satclip_train.sentinel2.config import LOSSES

from ...processes import finished
from .fixtures import environment, losses, satclip_index, small_config, to_toml, write_data_set
from .step import take_steps

SCRIPT = Path(__file__).with_name("step.py")
# Two processes add the same float32 terms in another order, which can cost one unit in the last place for each addition
# behind a gradient: 794 features, 36, 32 and 16 inputs of the layers and 16 pairs, all but the features in both
# directions, so fewer than 1,000. A missing gather, or a missing division by the number of processes, costs half.
TOLERANCE = 1000 * torch.finfo(torch.float32).eps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    write_data_set(folder / "s2", 16)
    compute_features(small_config(folder / "s2", cache=folder / "features"))
    return folder


def _config(folder, loss):
    return small_config(
        folder / "s2",
        cache=folder / "features",
        data={"validation_share": 0.0},
        encoder={"dropout": 0.0},  # drawn in every process for itself
        training={"batch_size": 16, "max_epochs": 1, "jitter_degrees": 0.0, "loss": loss},
        machine={"log": "none"},
    )


@pytest.fixture(scope="module")
def steps(folder):
    """The same step by one process and by two, as step.py keeps it."""
    paths = [to_toml(_config(folder, loss), folder / f"{loss}.toml") for loss in LOSSES]
    for devices in (1, 2):
        (folder / str(devices)).mkdir()
    take_steps("1", folder / "1", *paths)
    arguments = [sys.executable, SCRIPT, "2", folder / "2", *paths]
    done = finished(arguments, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_have_the_loss_and_the_gradients_of_one(steps, loss):
    files = [steps / name for name in (f"1/{loss}.0", f"2/{loss}.0", f"2/{loss}.1")]
    one, *two = (torch.load(file, weights_only=True) for file in files)
    assert (one["world"], two[0]["world"], two[1]["world"]) == (1, 2, 2)
    for each in two:
        assert each["loss"].item() == pytest.approx(one["loss"].item(), rel=TOLERANCE)
        assert each["gradients"].keys() == one["gradients"].keys()
        for name, gradient in one["gradients"].items():
            assert gradient.abs().max() > 0, name
            assert (each["gradients"][name] - gradient).norm() <= TOLERANCE * gradient.norm(), name


@pytest.mark.slow
def test_the_command_trains_in_two_processes_and_talks_in_one(folder):
    config = small_config(folder / "s2", cache=folder / "features", machine={"devices": 2})
    to_toml(config, folder / "two.toml")
    done = satclip_index("train", "two.toml", "-o", "two.ckpt", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("Trained.") == 1
    assert json.loads((folder / "two.json").read_text())["config"]["machine"]["devices"] == 2
    assert len(losses(folder / "two.run")) == 4
