import numpy as np
import pytest
import torch

from satclip_train.rasters.config import GROUPS, Scale
from satclip_train.rasters.imagery import Imagery, extract_lights
from satclip_train.rasters.patch_statistics import patch_statistics, spectral_indices
from satclip_train.rasters.point_sampling import PointSampler
from satclip_train.rasters.random_conv_tower import RandomConvTower, Whitening
from satclip_train.rasters.raster import Pyramid, Raster


def flat_world(december, july):
    """A world of one color in December and another in July."""
    values = np.zeros((90, 180, 8), dtype=np.uint8)
    values[..., 0:3], values[..., 3:6], values[..., 6] = december, july, 25
    return Imagery(Pyramid.build(Raster(values), (2,)))


@pytest.fixture(scope="module")
def imagery(rasters):
    names = {"december": "december", "july": "july", "elevation": "elevation", "night_lights": "lights"}
    return Imagery.read(**{key: rasters / f"{name}.png" for key, name in names.items()})


@pytest.fixture(scope="module")
def tower(imagery):
    lon, lat = PointSampler().draw(600, np.random.default_rng(0))
    scales = [Scale(size_km=400, pixels=5), Scale(size_km=1200, pixels=6)]
    tower = RandomConvTower(imagery, scales=scales, weights=dict.fromkeys(GROUPS, 1.0))
    return tower.fit(lon, lat)


def test_seasons_are_local_and_blend_at_the_equator():
    world = flat_world((255, 255, 255), (0, 0, 0))
    patch = world.patches(np.zeros(3), np.array([50.0, -50.0, 0.0]), size_km=10, pixels=2)[:, 0, 0]
    np.testing.assert_allclose(patch[:, 0], [0, 1, 0.5], atol=1e-6)  # local summer
    np.testing.assert_allclose(patch[:, 3], [1, 0, 0.5], atol=1e-6)  # local winter
    np.testing.assert_allclose(patch[:, 6:], 0, atol=1e-6)  # sea level, no lights


def test_the_dimmed_earth_is_dark_and_cities_are_bright():
    pixels = np.array([[[5, 45, 70], [11, 59, 81], [1, 19, 41], [52, 53, 55], [96, 95, 91]]], dtype=np.uint8)
    sahara, greenland, sea, nairobi, chicago = extract_lights(pixels)[0].tolist()
    assert sahara == greenland == sea == 0
    assert 100 < nairobi < chicago <= 255


def test_indices_tell_snow_forest_desert_and_sea_apart():
    rgb = torch.tensor([[0.95, 0.95, 0.97], [0.1, 0.2, 0.05], [0.8, 0.65, 0.4], [0.02, 0.05, 0.2]])
    _, _, _, brightness, green, brown, water, snow = spectral_indices(rgb).T
    assert snow.argmax() == 0
    assert green.argmax() == 1
    assert brown.argmax() == 2
    assert water.argmax() == 3
    assert brightness.argsort().tolist() == [3, 1, 2, 0]


def test_statistics_match_numpy():
    patch = torch.rand(3, 4, 4, 8, generator=torch.Generator().manual_seed(0))
    statistics = patch_statistics(patch)
    np.testing.assert_allclose(statistics["colour"][:, 0], patch[..., 0].numpy().mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(statistics["texture"][:, 0], patch[..., 0].numpy().std(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(statistics["relief"][:, 0], patch[..., 6].numpy().mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(statistics["lights"][:, 3], patch[..., 7].numpy().max(axis=(1, 2)), rtol=1e-5)


def test_whitening_makes_the_kept_directions_uncorrelated_and_of_one_length():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(5000, 4)) @ rng.normal(size=(4, 10)) + 7).astype(np.float32)
    white = Whitening.fit(features, keep=4, shrinkage=0.0)(features)
    np.testing.assert_allclose(white.T @ white / 5000, np.eye(4) / 4, atol=1e-3)
    shrunk = Whitening.fit(features, keep=4, shrinkage=1.0)(features)
    assert np.square(shrunk).sum(axis=1).mean() == pytest.approx(1, rel=1e-3)
    assert shrunk.var(axis=0)[0] > 1.2 * shrunk.var(axis=0)[3]


def test_features_depend_on_the_place_alone(tower):
    lon, lat = PointSampler().draw(700, np.random.default_rng(1))
    together = tower.features(lon, lat)
    assert together.shape == (700, tower.dim)
    assert together.dtype == np.float32
    np.testing.assert_allclose(tower.features(lon[640:], lat[640:]), together[640:], atol=1e-4)


def test_each_group_has_the_weight_it_was_given(imagery, tower):
    lon, lat = PointSampler().draw(600, np.random.default_rng(0))
    assert np.square(tower.features(lon, lat)).sum(axis=1).mean() == pytest.approx(len(GROUPS), rel=0.01)
    relief = RandomConvTower(imagery, scales=[Scale(size_km=400, pixels=5)], weights={"relief": 2.0}).fit(lon, lat)
    assert np.square(relief.features(lon, lat)).sum(axis=1).mean() == pytest.approx(4, rel=0.01)


def test_features_do_not_jump_at_the_poles_or_the_antimeridian(tower):
    lat = np.array([89.999, 89.999, 10.0, 10.0, -89.999, -89.999])
    lon = np.array([0.0, 120.0, 180.0, -180.0, -60.0, 100.0])
    features = tower.features(lon, lat)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[2], features[3], atol=1e-4)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert (unit[0] @ unit[1], unit[4] @ unit[5]) > (0.8, 0.8)
