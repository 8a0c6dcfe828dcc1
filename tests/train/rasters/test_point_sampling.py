import numpy as np
import pytest

from satclip_index.geo.land_mask import is_land
from satclip_train.blocks import block_of, is_held_out
from satclip_train.rasters.point_sampling import PointSampler, uniform_points
from satclip_train.rasters.raster import Raster


def test_points_are_uniform_on_the_sphere():
    lon, lat = uniform_points(200_000, np.random.default_rng(0))
    lon, lat = np.deg2rad(lon), np.deg2rad(lat)
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    assert np.abs(xyz.mean(axis=1)).max() < 0.005
    np.testing.assert_allclose(xyz @ xyz.T / lon.size, np.eye(3) / 3, atol=0.005)


def test_land_is_land_and_ice_is_land():
    lon = np.array([36.8, -40.0, 0.0, 180.0, -150.0, 2.35])
    lat = np.array([-1.3, 75.0, -85.0, -85.0, 0.0, 48.85])
    assert is_land(lon, lat).tolist() == [True, True, True, True, False, True]


def test_every_draw_is_fresh_and_a_seed_repeats_it():
    sampler = PointSampler(sea_share=0.2)
    rng = np.random.default_rng(3)
    first, second = sampler.draw(500, rng), sampler.draw(500, rng)
    assert not np.intersect1d(first[0], second[0]).size
    np.testing.assert_array_equal(first, sampler.draw(500, np.random.default_rng(3)))


def test_shares_of_sea_and_lit_land_are_kept():
    lights = np.zeros((180, 360, 1), dtype=np.uint8)
    lights[41, 182] = 255  # one pixel, in France: lon 2 to 3, lat 48 to 49
    sampler = PointSampler(sea_share=0.3, lit_share=0.25, lights=Raster(lights))
    lon, lat = sampler.draw(4000, np.random.default_rng(0))
    in_france = (lon > 2) & (lon < 3) & (lat > 48) & (lat < 49)
    assert in_france.sum() == pytest.approx(1000, abs=10)
    assert (~is_land(lon, lat)).mean() == pytest.approx(0.3 * 0.71, abs=0.03)
    lon, lat = sampler.draw(1000, np.random.default_rng(0), land_only=True)
    assert is_land(lon, lat).all()


def test_training_and_validation_share_no_block():
    sampler = PointSampler(sea_share=0.3, block_degrees=6, holdout_share=0.2)
    rng = np.random.default_rng(0)
    training = block_of(*sampler.draw(5000, rng), 6)
    held_out = block_of(*sampler.draw(5000, rng, held_out=True), 6)
    assert not np.intersect1d(training, held_out).size


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_held_out_blocks_is_what_was_asked(share):
    lat, lon = (axis.ravel() for axis in np.mgrid[-89:90:2, -179:180:2].astype(float))
    held = is_held_out(lon, lat, degrees=2, share=share, seed=1)
    assert held.mean() == pytest.approx(share, abs=0.02)
    assert (held != is_held_out(lon, lat, degrees=2, share=share, seed=2)).any()


def test_blocks_are_numbered_once_each():
    lat, lon = (axis.ravel() for axis in np.mgrid[-85:90:10, -175:180:10].astype(float))
    assert np.unique(block_of(lon, lat, 10)).size == 18 * 36
    assert block_of(np.array([0.1, 9.9]), np.array([0.1, 9.9]), 10).tolist() == [9 * 36 + 18] * 2
    assert block_of(np.array([180.0]), np.array([90.0]), 10) == block_of(np.array([-180.0]), np.array([85.0]), 10)
