from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from satclip_index.errors import DataError
from satclip_train.rasters.raster import EARTH_RADIUS_KM, Pyramid, Raster, patch_grid, read_image


def sphere(lon, lat):
    lon, lat = np.deg2rad(np.asarray(lon, dtype=float)), np.deg2rad(np.asarray(lat, dtype=float))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def distance_km(lon_a, lat_a, lon_b, lat_b):
    chord = np.linalg.norm(sphere(lon_a, lat_a) - sphere(lon_b, lat_b), axis=-1)
    return 2 * EARTH_RADIUS_KM * np.arcsin(chord / 2)


@pytest.fixture(scope="module")
def globe():
    """x, y and z of each pixel's direction, as grey values: smooth everywhere, poles and antimeridian included."""
    lat, lon = np.meshgrid(90 - (np.arange(360) + 0.5) / 2, (np.arange(720) + 0.5) / 2 - 180, indexing="ij")
    return Raster(np.round(127.5 + 127.5 * sphere(lon, lat)).astype(np.uint8))


@pytest.mark.parametrize("size_km", [100.0, 1500.0])
def test_patch_holds_the_ground_it_says_it_holds(globe, size_km):
    lon = np.array([0.0, 36.8, 180.0, -180.0, 179.9, 12.0, -75.0, 0.0, 40.0])
    lat = np.array([0.0, -1.3, 10.0, 10.0, -45.0, 89.9, -89.9, 90.0, -90.0])
    patch = globe.patches(lon, lat, size_km=size_km, pixels=7)
    grid = patch_grid(lon, lat, size_km=size_km, pixels=7)
    assert patch.shape == (9, 7, 7, 3)
    assert np.abs(patch - (127.5 + 127.5 * sphere(*grid))).max() < 1.8


def test_values_at_pixel_centers_are_the_pixels(globe):
    rows, columns = np.array([0, 17, 359]), np.array([0, 400, 719])
    values = globe.sample((columns + 0.5) / 2 - 180, 90 - (rows + 0.5) / 2)
    np.testing.assert_allclose(values, globe.values[rows, columns], atol=0.02)


def test_halfway_across_the_antimeridian_is_the_mean_of_both_sides():
    values = np.zeros((4, 8, 1), dtype=np.uint8)
    values[:, 0], values[:, -1] = 40, 80
    raster = Raster(values)
    np.testing.assert_allclose(raster.sample([180.0, -180.0], [0.0, 0.0])[:, 0], [60, 60])
    np.testing.assert_allclose(raster.sample([180 - 22.5, 180 + 22.5], [0.0, 0.0])[:, 0], [80, 40])


@pytest.mark.parametrize("lat", [0.0, 60.0, -84.0, 90.0])
def test_a_patch_has_the_same_ground_size_at_every_latitude(lat):
    lon, lats = patch_grid(123.4, lat, size_km=110.0, pixels=11)
    middle = lon[0, 5], lats[0, 5]
    west_east = distance_km(lon[0, 5, 0], lats[0, 5, 0], lon[0, 5, -1], lats[0, 5, -1])
    north_south = distance_km(lon[0, 0, 5], lats[0, 0, 5], lon[0, -1, 5], lats[0, -1, 5])
    assert west_east == pytest.approx(100, rel=2e-3)
    assert north_south == pytest.approx(100, rel=2e-3)
    assert middle[0].shape == (11,)


def test_row_zero_is_north_and_column_zero_is_west():
    lon, lat = patch_grid(10.0, 50.0, size_km=100.0, pixels=3)
    assert lat[0, 0, 1] > 50 > lat[0, 2, 1]
    assert lon[0, 1, 0] < 10 < lon[0, 1, 2]
    assert np.hypot(lon[0, 1, 1] - 10, lat[0, 1, 1] - 50) < 1e-4


def test_longitudes_of_a_grid_stay_in_range_across_the_antimeridian():
    lon, _ = patch_grid([179.9, -179.9], [65.0, 65.0], size_km=200.0, pixels=9)
    assert lon.min() >= -180
    assert lon.max() <= 180
    assert (lon < -170).any(axis=(1, 2)).all()
    assert (lon > 170).any(axis=(1, 2)).all()


def test_coarse_patches_average_what_they_cover():
    checkers = (np.indices((512, 1024)).sum(axis=0) % 2 * 200).astype(np.uint8)[..., None]
    pyramid = Pyramid.build(Raster(checkers))
    coarse = pyramid.patches([5.0], [40.0], size_km=8000.0, pixels=6)
    assert np.abs(coarse - 100).max() < 3
    assert np.ptp(pyramid.patches([5.0], [0.0], size_km=60.0, pixels=30)) > 150


def test_reduced_keeps_the_mean():
    values = np.random.default_rng(0).integers(0, 255, (64, 128, 2), dtype=np.uint8)
    smaller = Raster(values).reduced(4)
    assert smaller.values.shape == (16, 32, 2)
    expected = values.reshape(16, 4, 32, 4, 2).mean(axis=(1, 3))
    assert np.abs(smaller.values - expected).max() <= 1


def test_a_missing_raster_says_what_is_needed_and_where_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jpg.*visibleearth\.nasa\.gov"):
        read_image(tmp_path / "nowhere.jpg", mode="RGB")


def test_a_file_that_is_no_map_is_refused(tmp_path: Path):
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(DataError, match="not a readable image"):
        read_image(tmp_path / "text.jpg", mode="L")
    Image.new("L", (30, 30)).save(tmp_path / "square.png")
    with pytest.raises(DataError, match="30 x 30; expected an equirectangular map"):
        read_image(tmp_path / "square.png", mode="L")
