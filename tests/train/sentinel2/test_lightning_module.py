import csv
import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from satclip_index.encoder.location_encoder import Encoder
from satclip_index.errors import ConfigError, DataError
from satclip_train.sentinel2.compute_features import compute_features
from satclip_train.sentinel2.config import OptimConfig
from satclip_train.sentinel2.data_module import CachedData, Draws, TilesData
from satclip_train.sentinel2.lightning_module import SatClipModule, learning_rate_factor
from satclip_train.sentinel2.losses import batch_loss
from satclip_train.sentinel2.train import make_tower_for, make_trainer, train_on_tiles

from .fixtures import losses, small_config, write_data_set, write_tile

RNG = torch.Generator().manual_seed(0)
PLACES, IMAGES, FEATURES = (torch.randn(6, 4, generator=RNG, dtype=torch.float64) for _ in range(3))
SCALE, BIAS = torch.tensor(1.5, dtype=torch.float64), torch.tensor(-0.7, dtype=torch.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("module")
    write_data_set(folder / "s2", 18)
    compute_features(small_config(folder / "s2", cache=folder / "features"))
    return folder


def _cosines():
    places, images = PLACES.numpy(), IMAGES.numpy()
    return np.array([[p @ i / math.hypot(*p) / math.hypot(*i) for i in images] for p in places])


def test_the_released_loss_is_the_cross_entropy_of_both_directions():
    logits = math.exp(1.5) * _cosines()
    log_rows = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    log_columns = logits - np.log(np.exp(logits).sum(axis=0, keepdims=True))
    expected = -(np.trace(log_rows) + np.trace(log_columns)) / 12
    assert batch_loss("clip", PLACES, IMAGES, FEATURES, SCALE).item() == pytest.approx(expected, rel=1e-12)


def test_the_sigmoid_loss_judges_each_pair_alone():
    logits = math.exp(1.5) * _cosines() - 0.7
    expected = sum(math.log1p(math.exp(-v if i == j else v)) for (i, j), v in np.ndenumerate(logits)) / 6
    assert batch_loss("siglip", PLACES, IMAGES, FEATURES, SCALE, BIAS).item() == pytest.approx(expected, rel=1e-12)


def test_soft_targets_share_among_images_that_look_alike():
    hard = batch_loss("clip", PLACES, IMAGES, FEATURES, SCALE)
    cold = batch_loss("soft", PLACES, IMAGES, FEATURES, SCALE, temperature=0.0)
    warm = batch_loss("soft", PLACES, IMAGES, FEATURES, SCALE, temperature=0.5)
    torch.testing.assert_close(cold, hard)
    direction = functional.normalize(FEATURES, dim=1)
    targets = torch.softmax(direction @ direction.T / 0.5, dim=1)
    logits = math.exp(1.5) * torch.from_numpy(_cosines())
    by_hand = -((targets * logits.log_softmax(1)).sum() + (targets * logits.T.log_softmax(1)).sum()) / 12
    torch.testing.assert_close(warm, by_hand)


def test_half_precision_embeddings_have_their_loss_in_float32():
    half = [part.to(torch.bfloat16) for part in (PLACES, IMAGES, FEATURES)]
    assert batch_loss("clip", *half, SCALE.float()).dtype == torch.float32


def test_every_tile_is_drawn_once_an_epoch_in_an_order_of_the_seed_and_the_epoch():
    draws = Draws(np.arange(100, 123), 8, seed=0, shuffle=True, views=3)

    def epoch(number):
        draws.set_epoch(number)
        return list(draws)

    assert [draw.rows.size for draw in epoch(0)] == [8, 8, 7]
    assert len(draws) == 3
    first, again, second = (np.concatenate([draw.rows for draw in epoch(number)]) for number in (0, 0, 1))
    np.testing.assert_array_equal(np.sort(first), np.arange(100, 123))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    views = np.concatenate([draw.views for draw in epoch(0)])
    assert set(views) == {0, 1, 2}


def test_a_remainder_is_spread_rather_than_left_as_a_batch_of_one():
    sizes = [draw.rows.size for draw in Draws(np.arange(1025), 512, seed=0, shuffle=False)]
    assert sizes == [342, 342, 341]


def test_two_processes_share_a_batch_without_overlap():
    both = [list(Draws(np.arange(20), 8, seed=0, shuffle=True, rank=rank, world=2)) for rank in (0, 1)]
    one = list(Draws(np.arange(20), 8, seed=0, shuffle=True))
    for left, right, whole in zip(*both, one, strict=True):
        assert left.rows.size == right.rows.size
        assert set(left.rows) | set(right.rows) <= set(whole.rows)
        assert not set(left.rows) & set(right.rows)


def test_warm_up_rises_and_the_cosine_falls_to_nothing():
    plan = OptimConfig(schedule="cosine", warmup_steps=10)
    rates = [learning_rate_factor(step, 110, plan) for step in range(111)]
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert rates[10] == 1
    assert rates[60] == pytest.approx(0.5)
    assert rates[110] == pytest.approx(0)
    assert {learning_rate_factor(step, 110, OptimConfig(warmup_steps=2)) for step in range(2, 110)} == {1.0}


@pytest.mark.parametrize("source", ["tiles", "cache"])
def test_only_the_head_the_location_encoder_and_the_scale_train(folder, source, tmp_path):
    cache = folder / "features" if source == "cache" else ""
    config = small_config(folder / "s2", cache=cache, tower={"name": "resnet18", "weights": "none"})
    if cache:
        config = small_config(folder / "s2", cache=cache)
    data = CachedData(config) if cache else TilesData(config, tmp_path)
    module = SatClipModule(config, make_tower_for(config, data))
    names = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    location = {f"model.location.nnet.{key}" for key in module.model.nnet.state_dict()}
    assert names == {"model.visual.fc.weight", "model.visual.fc.bias", "model.logit_scale", *location}
    groups = module.configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [0.0, 0.01]
    assert all(parameter.ndim < 2 for parameter in groups[0]["params"])
    assert len(groups[1]["params"]) == 4  # three of the location encoder, one of the head
    assert module.train().tower.visual.training is False
    assert module.model.location.training is True


def test_angles_stay_float64_whatever_the_network_is(folder):
    config = small_config(folder / "s2", cache=folder / "features", encoder={"dropout": 0.0, "legendre_polys": 40})
    module = SatClipModule(config, make_tower_for(config, CachedData(config))).eval()
    lon = torch.tensor([12.0, 12.0 + 1e-7], dtype=torch.float64)
    lat = torch.tensor([89.9, 89.9], dtype=torch.float64)
    seen = []
    hook = module.model.nnet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module.model.location(lon, lat)
    hook.remove()
    assert (seen[0].dtype, out.dtype) == (torch.float32, torch.bfloat16)
    from scipy.special import sph_harm_y

    l, m = 30, 7  # noqa: E741
    expected = -math.sqrt(2) * sph_harm_y(l, m, np.radians(90 - 89.9), np.radians(12.0)).real * (-1) ** l
    assert seen[0][0, l * l + l + m].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("loss", ["clip", "soft", "siglip"])
def test_every_loss_falls_in_every_precision(folder, tmp_path, loss, precision):
    config = small_config(
        folder / "s2",
        cache=folder / "features",
        encoder={"dropout": 0.0},
        training={"batch_size": 16, "max_epochs": 30, "learning_rate": 1e-2, "loss": loss},
        machine={"precision": precision},
    )
    train_on_tiles(config, out=tmp_path / "a.safetensors")
    curve = losses(tmp_path / "a.run")
    assert len(curve) == 30
    assert curve[29] < 0.8 * curve[0]


def test_a_run_end_to_end_leaves_the_trunk_as_it_was(folder, tmp_path):
    config = small_config(
        folder / "s2", tower={"name": "resnet18", "weights": "none"}, training={"max_epochs": 1, "batch_size": 16}
    )
    before = make_tower_for(config, TilesData(config, tmp_path)).visual.state_dict()
    train_on_tiles(config, out=tmp_path / "a.ckpt")
    after = torch.load(tmp_path / "a.run" / "last.ckpt", weights_only=True)["state_dict"]
    for key, tensor in before.items():
        same = torch.equal(after[f"model.visual.{key}"], tensor)
        assert same != key.startswith("fc."), key


@pytest.mark.parametrize("where", ["features", "rate"])
def test_a_loss_that_is_no_number_stops_with_the_step_and_the_tiles(folder, tmp_path, where):
    config = small_config(
        folder / "s2",
        cache=folder / "features",
        training={"learning_rate": 1e30 if where == "rate" else 1e-4},
    )
    if where == "features":
        data = CachedData(config)
        data.setup("fit")
        row = int(np.flatnonzero(~data.validation)[3])
        config = _with_a_poisoned_tile(config, tmp_path / "poisoned", row)
        step = r"step \d+ \(epoch 0, batch \d+\)"
        message = rf"^The loss is nan at {step}, whose features are not finite for patch_{row}\.tif\. "
    else:
        message = (
            r"^The loss is nan at step \d+ \(epoch \d+, batch \d+\), whose tiles begin with patch_\d+\.tif, patch_"
        )
    with pytest.raises(DataError, match=message) as stopped:
        train_on_tiles(config, out=tmp_path / "a.ckpt")
    assert "\n" not in str(stopped.value)
    assert not (tmp_path / "a.ckpt").exists()


def _with_a_poisoned_tile(config, folder, row):
    """Return the run over a copy of its cache in which one tile has features that are no numbers."""
    import shutil
    from pathlib import Path

    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    shutil.copytree(config.cache.folder, folder)
    shard = Path(folder) / f"shard-{row // config.cache.shard_tiles:05d}.safetensors"
    with safe_open(shard, "np") as file:
        metadata = file.metadata()
    tensors = load_file(shard)
    tensors["views"][row % config.cache.shard_tiles] = np.nan
    save_file(tensors, shard, metadata=metadata)
    return dataclasses.replace(config, cache=dataclasses.replace(config.cache, folder=str(folder)))


def test_patience_ends_a_run_that_gets_no_better(folder, tmp_path):
    config = small_config(
        folder / "s2",
        cache=folder / "features",
        training={"max_epochs": 400, "learning_rate": 3e-2, "patience": 3, "batch_size": 16},
    )
    train_on_tiles(config, out=tmp_path / "a.ckpt")
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["epochs"] < 400
    curve = losses(tmp_path / "a.run", "val_loss")
    values = list(curve.values())
    assert record["best_val_loss"] == pytest.approx(min(values), abs=1e-6)
    assert len(values) - 1 - int(np.argmin(values)) == 3


def test_gradients_are_accumulated_and_clipped_as_asked(folder, tmp_path):
    config = small_config(
        folder / "s2",
        cache=folder / "features",
        training={"batch_size": 4, "accumulate": 4, "max_epochs": 1, "clip_norm": 0.01},
    )
    trainer = make_trainer(config, tmp_path)
    assert (trainer.accumulate_grad_batches, trainer.gradient_clip_val) == (4, 0.01)
    train_on_tiles(config, out=tmp_path / "a.ckpt")
    assert json.loads((tmp_path / "a.json").read_text())["steps"] == 1  # 16 tiles train: four batches, one step


def test_nothing_held_out_keeps_the_last_epoch(folder, tmp_path):
    config = small_config(folder / "s2", cache=folder / "features", data={"validation_share": 0.0})
    train_on_tiles(config, out=tmp_path / "a.ckpt")
    last = Encoder.load(tmp_path / "a.run" / "last.ckpt")
    assert Encoder.load(tmp_path / "a.ckpt").sha256 == last.sha256
    assert json.loads((tmp_path / "a.json").read_text())["best_val_loss"] is None


def test_tensorboard_and_no_log_are_possible(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for log in ("tensorboard", "none"):
        config = small_config(folder / "s2", cache=folder / "features", machine={"log": log})
        train_on_tiles(config, out=tmp_path / f"{log}.ckpt")
    assert list((tmp_path / "tensorboard.run" / "logs").rglob("events.out.tfevents*"))
    assert not (tmp_path / "none.run" / "logs").exists()
    assert not (tmp_path / "lightning_logs").exists()


def test_progress_counts_batches(folder, tmp_path):
    seen = []
    config = small_config(folder / "s2", cache=folder / "features")
    train_on_tiles(config, out=tmp_path / "a.ckpt", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_true_batch_of_8192_trains_on_the_cpu(folder, tmp_path):
    config = small_config(folder / "s2", cache=folder / "features", data={"validation_share": 0.0})
    data = CachedData(config)
    module = SatClipModule(config, make_tower_for(config, data))
    rows = np.random.default_rng(0).integers(len(data.cache), size=8192)
    lon, lat = (torch.from_numpy(values[rows]) for values in (data.cache.lon, data.cache.lat))
    features = torch.from_numpy(data.cache.features(rows, rows % 2))
    module.trainer = make_trainer(config, tmp_path)
    loss = module.batch_loss({"rows": rows, "lon": lon, "lat": lat, "features": features})
    loss.backward()
    assert 0.8 * math.log(8192) < loss.item() < 2 * math.log(8192)
    assert module.model.nnet.layers[0].weight.grad.isfinite().all()


def test_bad_tiles_are_found_before_training_and_only_once(folder, tmp_path, caplog):
    write_data_set(tmp_path / "s2", 10)
    file = tmp_path / "s2" / "images" / "patch_4.tif"
    file.write_bytes(file.read_bytes()[:11_000])
    config = small_config(tmp_path / "s2", data={"max_bad_share": 0.2}, training={"max_epochs": 1})
    train_on_tiles(config, out=tmp_path / "a.ckpt")
    train_on_tiles(config, out=tmp_path / "a.ckpt", resume=True)
    assert caplog.text.count("patch_4.tif is left out: unreadable") == 1
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["tiles"] == "9 of 10 tiles used; left out: 1 unreadable"


def test_a_run_is_not_resumed_on_other_tiles(tmp_path):
    write_data_set(tmp_path / "s2", 8)
    config = small_config(tmp_path / "s2", training={"max_epochs": 1})
    train_on_tiles(config, out=tmp_path / "a.ckpt")
    write_tile(tmp_path / "s2" / "images" / "patch_4.tif", np.random.default_rng(7))
    with pytest.raises(DataError, match=r"have changed since the run in .* started"):
        train_on_tiles(config, out=tmp_path / "a.ckpt", resume=True)


def test_processes_that_read_tiles_change_nothing(folder, tmp_path):
    curves = []
    for workers in (0, 2):
        config = small_config(folder / "s2", data={"workers": workers})
        train_on_tiles(config, out=tmp_path / f"{workers}.ckpt")
        curves.append(losses(tmp_path / f"{workers}.run"))
    assert len(curves[0]) == 4
    assert curves[0] == pytest.approx(curves[1], abs=1e-6)


def test_half_precision_on_a_cpu_is_refused(folder, tmp_path):
    config = small_config(folder / "s2", cache=folder / "features", machine={"precision": "16"})
    with pytest.raises(ConfigError, match="expected '32' or 'bf16'"):
        train_on_tiles(config, out=tmp_path / "a.ckpt")
    with pytest.raises(ConfigError, match=r"expected .safetensors or .ckpt"):
        train_on_tiles(config, out=tmp_path / "a.pt")


def test_the_log_has_a_line_for_each_step(folder, tmp_path):
    train_on_tiles(small_config(folder / "s2", cache=folder / "features"), out=tmp_path / "a.ckpt")
    with (tmp_path / "a.run" / "logs" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["train_loss"]] == ["0", "1", "2", "3"]
    assert len([row for row in rows if row["val_loss"]]) == 2
