import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from satclip_index.encoder.location_encoder import Encoder, Siren
from satclip_index.encoder.spherical_harmonics import real_harmonics
from satclip_index.errors import DataError
from satclip_train.rasters.batches import Prefetcher, degree_weights, scaled_harmonics
from satclip_train.rasters.config import EncoderConfig, TrainingConfig
from satclip_train.rasters.train import fold_weights, learning_rate, train


def test_twenty_steps_lower_the_loss_and_a_seed_repeats_them(tiny, tmp_path):
    losses = {"a": [], "b": [], "other seed": []}
    for name, seen in losses.items():
        config = replace(tiny, seed=1) if name == "other seed" else tiny
        path = train(config, out=tmp_path / f"{name}.safetensors", progress=lambda at, seen=seen: seen.append(at.loss))
        assert path == tmp_path / f"{name}.safetensors"
    assert len(losses["a"]) == 20
    assert losses["a"] == losses["b"] != losses["other seed"]
    assert np.mean(losses["a"][-5:]) < 0.9 * np.mean(losses["a"][:5])
    first, again = (Encoder.load(tmp_path / f"{name}.safetensors") for name in "ab")
    assert first.sha256 == again.sha256


def test_the_file_is_an_encoder_with_its_metrics_beside_it(tiny, tmp_path):
    path = train(tiny, out=tmp_path / "new" / "tiny.safetensors")
    encoder = Encoder.load(path)
    assert (encoder.name, encoder.dim) == ("tiny", 16)
    assert np.isfinite(encoder.encode([0, 180, 20], [90, 0, -90])).all()
    metrics = json.loads(path.with_suffix(".json").read_text())
    assert metrics["encoder_sha256"] == encoder.sha256
    assert metrics["loss"]["last"] < metrics["loss"]["first"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_a_loss_that_is_not_a_number_stops_with_its_step_and_writes_nothing(tiny, tmp_path):
    config = replace(tiny, training=replace(tiny.training, learning_rate=1e30, warmup_steps=0))
    with pytest.raises(DataError, match=r"The loss is (nan|inf) at step \d+ of 20; nothing was written"):
        train(config, out=tmp_path / "tiny.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_missing_raster_is_named(tiny, tmp_path):
    config = replace(tiny, data=replace(tiny.data, july=Path("gone.png")))
    with pytest.raises(DataError, match=r"No raster at gone\.png"):
        train(config, out=tmp_path / "x.safetensors")


def test_folding_changes_nothing_but_where_the_factors_live():
    shape = EncoderConfig(legendre_polys=7, capacity=24, embed_dim=12, w0=55.0, degree_decay=1.2)
    torch.manual_seed(0)
    network = Siren(49, 24, 2, 12, w0_first=55.0).eval()
    lon, lat = np.array([0.0, 36.8, -170.0]), np.array([90.0, -1.3, 60.0])
    inside = network(scaled_harmonics(lon, lat, 7, degree_weights(shape)))
    plain = real_harmonics(torch.from_numpy(lon), torch.from_numpy(lat), 7, dtype=torch.float32).T
    torch.testing.assert_close(fold_weights(network, shape)(plain), inside, atol=1e-5, rtol=1e-5)


def test_degree_weights_fall_with_the_degree_and_have_a_mean_square_of_one():
    weights = degree_weights(EncoderConfig(legendre_polys=10, degree_decay=1.0))
    assert weights.square().mean().item() == pytest.approx(1)
    assert (weights[0] / weights[99]).item() == pytest.approx(10)
    assert (degree_weights(EncoderConfig(legendre_polys=5)) == 1).all()


def test_the_rate_warms_up_and_comes_down():
    plan = TrainingConfig(steps=100, warmup_steps=10, learning_rate=2.0)
    rates = [learning_rate(step, plan) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(2)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.03


def test_the_prefetcher_keeps_the_order_and_passes_on_what_goes_wrong():
    def source():
        yield from range(10)
        raise DataError("no more")

    with Prefetcher(source()) as ahead:
        assert [next(ahead) for _ in range(10)] == list(range(10))
        with pytest.raises(DataError, match="no more"):
            next(ahead)
    with Prefetcher(iter(range(10**9))) as ahead:
        assert next(ahead) == 0
    assert not ahead._thread.is_alive()
