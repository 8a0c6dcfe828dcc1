import numpy as np
import pytest

from satclip_index.geo import land_mask
from satclip_index.geo.land_mask import is_land


def write(path, pixels, **changed):
    rows, columns = pixels.shape
    lat, lon = 90 - np.arange(rows) * 180 / rows, -180 + np.arange(columns) * 360 / columns
    np.savez_compressed(path, **({"mask": pixels, "lat": lat, "lon": lon} | changed))
    return path


def unpacked(mask):
    """Return the pixels that runs stand for."""
    lengths = np.diff(mask.changes, prepend=0, append=mask.lat.size * mask.lon.size)
    sea = np.arange(lengths.size) % 2 == 0
    return np.repeat(sea, lengths).reshape(mask.lat.size, mask.lon.size)


@pytest.mark.parametrize("sea_share", [0.0, 0.001, 0.5, 0.999, 1.0])
def test_runs_give_back_the_pixels_whatever_the_block(tmp_path, monkeypatch, sea_share):
    pixels = np.random.default_rng(0).random((60, 120)) < sea_share
    path = write(tmp_path / "mask.npz", pixels)
    for block in (1, 7, 120, 1 << 18):
        monkeypatch.setattr(land_mask, "_BLOCK_BYTES", block)
        np.testing.assert_array_equal(unpacked(land_mask._read_mask(path)), pixels)


def test_another_layout_is_left_to_the_package_itself(tmp_path):
    pixels = np.zeros((6, 12), bool)
    (tmp_path / "text.npz").write_text("no archive")
    others = [
        write(tmp_path / "bytes.npz", pixels, mask=pixels.astype(np.uint8)),
        write(tmp_path / "transposed.npz", pixels, mask=pixels.T),
        write(tmp_path / "fortran.npz", pixels, mask=np.asfortranarray(pixels)),
        write(tmp_path / "no-longitudes.npz", pixels, lon=np.empty(0)),
        tmp_path / "text.npz",
        tmp_path / "missing.npz",
    ]
    np.savez_compressed(tmp_path / "mask-alone.npz", mask=pixels)
    assert [land_mask._read_mask(path) for path in [*others, tmp_path / "mask-alone.npz"]] == [None] * 7


def test_the_installed_mask_is_read_in_little_memory_without_importing_the_package(run_python):
    work = (
        "import sys, tracemalloc, numpy as np\n"
        "from satclip_index.geo.land_mask import is_land\n"
        "lon, lat = np.array([36.8, -30.0, 180.0, -180.0, 0.0, 0.0]), np.array([-1.3, 0.0, 0.0, 90.0, 90.0, -90.0])\n"
        "tracemalloc.start()\n"
        "print(is_land(lon, lat).tolist(), 'global_land_mask' in sys.modules)\n"
        "print(tracemalloc.get_traced_memory()[1])"
    )
    answer, peak = run_python(work).stdout.splitlines()
    assert answer == "[True, False, False, False, False, True] False"
    assert 1e6 < int(peak) < 50e6  # of 933 MB


@pytest.mark.slow
def test_every_answer_is_that_of_global_land_mask():
    from global_land_mask import globe

    rng = np.random.default_rng(0)
    assert np.array_equal(unpacked(land_mask._installed_mask()), globe._mask)
    edges = [-180.0, 180.0, -90.0, 90.0, 0.0]
    edges += [np.nextafter(edge, other) for edge in edges for other in (-200.0, 200.0)]
    lon = np.concatenate([rng.uniform(-180, 180, 1_000_000), rng.choice(globe._lon, 300_000), edges])
    lat = np.concatenate([rng.uniform(-90, 90, 1_000_000), rng.choice(globe._lat, 300_000), edges])
    for towards in (-200.0, 200.0):  # just beside the borders of pixels
        lon = np.concatenate([lon, np.nextafter(lon[:300_000], towards), lon[-300_000:]])
        lat = np.concatenate([lat, lat[:300_000], np.nextafter(lat[-300_000:], towards)])
    lon, lat = np.clip(lon, -180, 180), np.clip(lat, -90, 90)
    edge_lon, edge_lat = (part.ravel() for part in np.meshgrid(np.clip(edges, -180, 180), np.clip(edges, -90, 90)))
    lon, lat = np.concatenate([lon, edge_lon]), np.concatenate([lat, edge_lat])
    east = np.nextafter(180.0, 0.0)
    np.testing.assert_array_equal(is_land(lon, lat), globe.is_land(lat, np.clip(lon, -180, east)))
