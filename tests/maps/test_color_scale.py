import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.maps.color_scale import Scale, as_hex, palette
from satclip_index.storage.manifest import ResolutionEntry

# Severe red-, green- and blue-blindness, of linear sRGB (Machado, Oliveira and Fernandes 2009).
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
SEEN = {"as it is": np.eye(3), **{name: np.array(matrix) for name, matrix in BLIND.items()}}


def cielab(colors, seen):
    """CIE L*a*b* (D65) of sRGB colours, by the standards' own formulas."""
    values = colors / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ seen.T, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("who", SEEN)
def test_colours_grow_darker_all_the_way_for_every_eye(who):
    lab = cielab(palette().astype(float), SEEN[who])
    light = lab[::8, 0]
    assert (np.diff(light) < -0.5).all()
    assert light[0] > 92
    assert light[-1] < 20
    steps = np.linalg.norm(np.diff(lab[::8], axis=0), axis=1)
    assert steps.min() > 2  # a just noticeable difference is about 2


def test_colours_are_even_to_the_eye():
    lab = cielab(palette().astype(float), np.eye(3))
    steps = np.linalg.norm(np.diff(lab[::16], axis=0), axis=1)
    assert steps.max() / steps.min() < 2.5
    assert palette().shape == (256, 3)
    assert np.unique(palette(), axis=0).shape[0] == 256
    assert as_hex(np.array([255, 0, 10], np.uint8)) == "#ff000a"


@pytest.fixture(scope="module")
def scale():
    levels = (*np.linspace(0, 0.99, 100), 0.995, 0.999, 0.9999, 1.0)
    return Scale(ResolutionEntry(1, 1, 0, 0, levels, tuple(np.asarray(levels) ** 2 * 2 - 1)))


def test_each_third_of_the_colours_is_ten_times_rarer(scale):
    for n, (position, name, similarity) in enumerate(scale.ticks()):
        assert position == n / 3
        assert name == ["all", "1 in 10", "1 in 100", "1 in 1,000"][n]
        assert similarity == pytest.approx((1 - 10.0**-n) ** 2 * 2 - 1)
        assert scale.position(np.float32([similarity]))[0] == pytest.approx(position, abs=1e-3)
    assert scale.position(np.float32([-1, -2, 0.999, 1, 2])).tolist() == [0, 0, 1, 1, 1]


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=30))
def test_what_is_more_alike_is_never_paler(scale, values):
    order = np.sort(np.float32(values))
    assert (np.diff(scale.position(order)) >= 0).all()
    shown = scale.paint(order).astype(int)
    assert (np.diff(shown[:, :3].sum(axis=1)) <= 0).all()


def test_what_is_not_there_is_not_painted_and_the_rest_is_opaque(scale):
    painted = scale.paint(np.float32([[np.nan, -1.0], [0.3, 1.0]]))
    assert painted.dtype == np.uint8
    assert painted.shape == (2, 2, 4)
    assert painted[0, 0].tolist() == [0, 0, 0, 0]
    assert painted[0, 1].tolist() == [*palette()[0], 255]
    assert painted[1, 1].tolist() == [*palette()[255], 255]
    assert painted[1, 0, 3] == 255
