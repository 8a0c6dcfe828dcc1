import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.encoder.location_encoder import Encoder, Hyperparameters, unit_half
from satclip_index.errors import CoordinateError, EncoderError

from .. import oracles
from ..conftest import ROOT
from ..oracles import GEOMETRIES, make_encoder

LON = np.array([36.82, -70.5, 180.0, -180.0, 0.0, 12.0, 200.0, 179.9999, 77.0])
LAT = np.array([-1.29, -33.4, 10.0, 10.0, 90.0, -90.0, -15.0, 71.0, 89.95])
# A sum of about 100 terms in each of two or three layers, in any order, rounds by a relative 100 * 2**-24 at most.
FLOAT32 = 2e-5


@pytest.mark.parametrize("convention", ["analytic", "closed-form"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_encode_is_the_siren_of_the_harmonics(geometry, convention):
    encoder = make_encoder(3, convention=convention, **geometry)
    expected = oracles.embed(encoder, LON, LAT)
    found = encoder.encode(LON, LAT)
    assert found.shape == (LON.size, geometry["dim"])
    assert found.dtype == np.float32
    scale = np.abs(expected).max()
    np.testing.assert_allclose(encoder.encode(LON, LAT, precision="float64"), expected, atol=1e-6 * max(scale, 0.1))
    np.testing.assert_allclose(found, expected, atol=FLOAT32 * scale)


def test_the_two_conventions_are_not_interchangeable():
    weights = make_encoder(1)
    other = Encoder(weights.network, Hyperparameters(6, 32, 2, 16, "closed-form"), name="other")
    assert np.abs(weights.encode(LON, LAT) - other.encode(LON, LAT)).max() > 0.01


@given(batch_size=st.integers(1, 60), count=st.integers(0, 50), seed=st.integers(0, 99))
def test_batch_size_changes_nothing_and_order_is_kept(batch_size, count, seed):
    encoder = make_encoder(0)
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(-180, 180, count), rng.uniform(-90, 90, count)
    found = encoder.encode(lon, lat, batch_size=batch_size)
    assert found.shape == (count, 16)
    np.testing.assert_allclose(found, encoder.encode(lon, lat, batch_size=1000), atol=FLOAT32)


@pytest.mark.parametrize("threads", [1, 2])
def test_encoding_in_batches_leaves_torchs_thread_count_as_it_was(encoder, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = encoder.encode(np.repeat(LON, 9), np.repeat(LAT, 9), batch_size=10)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found, np.repeat(encoder.encode(LON, LAT), 9, axis=0), atol=FLOAT32)


def test_encoding_does_not_touch_the_weights_or_track_gradients(encoder):
    before = encoder.sha256
    encoder.encode(LON, LAT, precision="float64")
    assert encoder.sha256 == before
    assert not any(tensor.requires_grad for tensor in encoder.network.parameters())


def test_180_degrees_east_and_west_are_one_place(encoder):
    raw = encoder.encode([180, -180, 10, 370 - 360], [33, 33, -90, -90])
    np.testing.assert_allclose(raw[0], raw[1], atol=FLOAT32)


@pytest.mark.parametrize(("lon", "lat", "row"), [([0, np.nan], [0, 0], 1), ([0, 0, 0], [0, 0, 91], 2)])
def test_a_coordinate_off_the_earth_is_refused_with_its_row(encoder, lon, lat, row):
    with pytest.raises(CoordinateError, match=f"at row {row}"):
        encoder.encode(lon, lat)


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": -3}, {"device": "abacus"}, {"precision": "float8"}]
)
def test_an_option_that_cannot_be_is_refused(encoder, options):
    with pytest.raises(EncoderError, match=str(next(iter(options.values())))):
        encoder.encode(LON, LAT, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_in_one_line(encoder):
    with pytest.raises(EncoderError, match="cuda") as caught:
        encoder.encode(LON, LAT, device="cuda")
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives():
    encoder = make_encoder(3, L=40, capacity=512, dim=256)
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 5000), np.degrees(np.arcsin(rng.uniform(-1, 1, 5000)))
    expected = encoder.encode(lon, lat, precision="float64")
    scale = np.abs(expected).max()
    np.testing.assert_allclose(encoder.encode(lon, lat, device="cuda", precision="float64"), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.encode(lon, lat, device="auto"), expected, atol=5e-5 * scale)


# --- files of ours


def test_the_fingerprint_changes_with_a_weight_and_with_the_convention():
    first, second = make_encoder(0), make_encoder(0)
    assert first.sha256 == second.sha256
    second.network.last_layer.bias[0] += 1e-3
    assert first.sha256 != second.sha256
    assert first.sha256 != make_encoder(0, convention="closed-form").sha256


@given(st.integers(0, 999), st.floats(1e-3, 1e3))
def test_stored_vectors_are_half_precision_units_and_the_norm_restores_them(seed, scale):
    raw = (np.random.default_rng(seed).normal(size=(7, 16)) * scale).astype(np.float32)
    embedding, norm = unit_half(raw)
    assert embedding.dtype == norm.dtype == np.float32
    np.testing.assert_array_equal(embedding.astype(np.float16).astype(np.float32), embedding)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(embedding * norm[:, None], raw, atol=1e-3 * np.abs(raw).max())
    np.testing.assert_allclose(norm, np.linalg.norm(raw.astype(np.float64), axis=1), rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_an_embedding_without_direction_is_refused(bad):
    raw = np.ones((3, 4), np.float32)
    raw[1] = bad
    with pytest.raises(EncoderError, match="at row 1"):
        unit_half(raw)


# --- the Hub, as spoken on the wire


def test_the_bundled_encoder_loads_when_it_is_shipped():
    path = ROOT / "satclip_index" / "encoder" / "bundled" / "bluemarble.safetensors"
    if not path.exists():
        pytest.skip("the bundled weights are not in this checkout yet")
    encoder = Encoder.load("bluemarble")
    assert encoder.origin == {"bundled": "bluemarble"}
    assert path.stat().st_size < 6_000_000
    assert np.isfinite(encoder.encode(LON, LAT)).all()
