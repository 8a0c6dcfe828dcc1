import numpy as np
import pytest

from satclip_index.errors import ConfigError
from satclip_train.sentinel2.splits import validation_mask

RNG = np.random.default_rng(0)
LON, LAT = RNG.uniform(-180, 180, 5000), np.degrees(np.arcsin(RNG.uniform(-1, 1, 5000)))


def test_a_random_split_holds_out_the_share_asked_for():
    mask = validation_mask(LON, LAT, share=0.1)
    assert mask.sum() == 500
    assert (mask == validation_mask(LON, LAT, share=0.1)).all()
    assert (mask != validation_mask(LON, LAT, share=0.1, seed=1)).any()


def test_a_blocked_split_never_divides_a_block():
    mask = validation_mask(LON, LAT, kind="blocked", share=0.1, block_degrees=10)
    assert 0.1 <= mask.mean() < 0.13
    blocks = np.floor(LON / 10) * 1000 + np.floor(LAT / 10)
    for block in np.unique(blocks):
        assert len(set(mask[blocks == block])) == 1


def test_the_dateline_does_not_tear_a_block_apart():
    lon = np.array([180.0, -180.0, -179.0, *np.linspace(-100, 100, 40)])
    mask = validation_mask(lon, np.zeros(lon.size), kind="blocked", share=0.5, block_degrees=7)
    assert mask[0] == mask[1] == mask[2]


def test_one_tile_at_least_is_held_out_and_one_trains():
    assert validation_mask(LON[:3], LAT[:3], share=0.01).sum() == 1
    assert validation_mask(LON[:2], LAT[:2], share=0.9).sum() == 1
    assert not validation_mask(LON, LAT, share=0.0).any()


def test_tiles_in_one_block_cannot_be_split():
    with pytest.raises(ConfigError, match="one block of 90 degrees"):
        validation_mask(np.full(5, 3.0), np.full(5, 3.0), kind="blocked", block_degrees=90)
