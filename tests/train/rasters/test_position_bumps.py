import numpy as np
import pytest

from satclip_train.rasters.point_sampling import uniform_points
from satclip_train.rasters.position_bumps import PositionBumps


def bumps(**options):
    return PositionBumps(np.array([0.0, 180.0, 36.8]), np.array([90.0, 0.0, -1.3]), widths_km=(1000.0,), **options)


def test_a_bump_falls_with_distance_as_a_gaussian_does():
    height = bumps().raw_features(np.array([36.8, 36.8, -179.9]), np.array([-1.3, 7.6932, 0.0]))
    assert height[0, 2] == pytest.approx(1, abs=1e-5)
    assert height[1, 2] == pytest.approx(np.exp(-0.5), rel=3e-3)  # 1,000 km to the north
    assert height[2, 1] == pytest.approx(1, abs=1e-3)  # across the antimeridian


def test_the_pole_is_one_place_whatever_its_longitude():
    lon = np.array([0.0, 77.0, -180.0])
    np.testing.assert_allclose(np.ptp(bumps().raw_features(lon, np.full(3, 90.0)), axis=0), 0, atol=1e-5)


def test_features_have_the_width_and_length_they_promise():
    lon, lat = uniform_points(4000, np.random.default_rng(0))
    position = bumps(keep=7).fit(lon, lat)
    features = position.features(lon, lat)
    assert features.shape == (4000, position.dim) == (4000, 3)
    assert np.square(features).sum(axis=1).mean() == pytest.approx(1, rel=1e-3)
