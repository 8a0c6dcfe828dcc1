import logging

import numpy as np
import pytest
import torch

from satclip_index.errors import DataError
from satclip_train.sentinel2.augment import reflectance
from satclip_train.sentinel2.tiles import BANDS, open_tiles

from .fixtures import SHARED, needs_shared, write_data_set, write_shards, write_table, write_tile


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s2")
    write_data_set(folder, 6)
    return folder


def test_a_tile_is_what_was_written_and_its_place_stays_float64(tmp_path):
    (tmp_path / "images").mkdir()
    image = write_tile(tmp_path / "images" / "a.tif", np.random.default_rng(0))
    write_table(tmp_path / "index.csv", [("a.tif", "-68.2091418648589", "-54.18078401057424")])
    tiles = open_tiles(tmp_path)
    np.testing.assert_array_equal(tiles.read(0), image)
    assert tiles.lon.dtype == tiles.lat.dtype == np.float64
    assert (tiles.lon[0], tiles.lat[0]) == (-68.2091418648589, -54.18078401057424)


def test_shards_hold_the_same_tiles_as_a_folder(tmp_path, data_set):
    shards = open_tiles(write_shards(tmp_path / "shards", data_set))
    loose = open_tiles(data_set)
    assert shards.names == loose.names
    assert shards.fingerprint() == loose.fingerprint()
    for i in range(len(loose)):
        np.testing.assert_array_equal(shards.read(i), loose.read(i))


@pytest.mark.parametrize("root", ["images", "data/images", "."])
def test_images_may_lie_in_any_of_three_places(tmp_path, root):
    (tmp_path / root).mkdir(parents=True, exist_ok=True)
    write_tile(tmp_path / root / "a.tif", np.random.default_rng(0))
    write_table(tmp_path / "index.csv", [("a.tif", 1, 2)])
    assert open_tiles(tmp_path).names == ["a.tif"]


def test_a_table_may_have_any_columns_in_any_order_and_a_byte_order_mark(tmp_path, data_set):
    rows = [(f"patch_{i}.tif", i, 2 * i) for i in range(6)]
    write_table(tmp_path / "t.csv", rows, columns=("cloud", "lat", "fn", "lon"), encoding="utf-8-sig")
    tiles = open_tiles(data_set, table=tmp_path / "t.csv")
    np.testing.assert_array_equal(tiles.lon, np.arange(6.0))
    np.testing.assert_array_equal(tiles.lat, 2 * np.arange(6.0))


def test_each_bad_tile_is_logged_once_with_its_name(tmp_path, caplog):
    rng = np.random.default_rng(0)
    write_data_set(tmp_path, 4)
    images = tmp_path / "images"
    write_tile(images / "bands.tif", rng, bands=11)
    write_tile(images / "floats.tif", rng, dtype="float32")
    write_tile(images / "narrow.tif", rng, pixels=128)
    write_tile(images / "short.tif", rng)
    (images / "short.tif").write_bytes((images / "short.tif").read_bytes()[:11_000])
    (images / "text.tif").write_bytes(b"no image" * 2000)
    (images / "tiny.tif").write_bytes(b"0" * 9_999)
    write_tile(images / "black.tif", rng)
    import rasterio

    with rasterio.open(images / "black.tif", "r+") as file:
        file.write(np.zeros((12, 256, 256), dtype=np.uint16))
    good = [(f"patch_{i}.tif", i, i) for i in range(4)]
    bad = ["bands.tif", "floats.tif", "narrow.tif", "short.tif", "text.tif", "tiny.tif", "black.tif", "gone.tif"]
    rows = [*good, *[(name, 0, 0) for name in bad], ("patch_1.tif", "nan", 0), ("patch_2.tif", 0, 91)]
    write_table(tmp_path / "index.csv", rows)
    with caplog.at_level(logging.WARNING):
        tiles = open_tiles(tmp_path, max_bad_share=0.9).readable()
        tiles.readable()
    assert tiles.names == [name for name, *_ in good]
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("satclip_train")]
    for name in [*bad, "patch_1.tif", "patch_2.tif"]:
        assert len([line for line in logged if f" {name} " in line]) == 1, (name, logged)
    summary = tiles.bad.summary()
    assert summary.startswith("4 of 14 tiles used; left out: ")
    for part in ("1 band count", "2 coordinates", "1 missing", "2 nodata", "1 size", "1 type", "2 unreadable"):
        assert part in summary


def test_too_many_bad_tiles_are_refused_with_the_first_name(tmp_path):
    write_data_set(tmp_path, 3)
    (tmp_path / "images" / "patch_1.tif").unlink()
    with pytest.raises(DataError, match=r"1 of 3 tiles .* more than the 5% allowed; first is patch_1.tif: missing"):
        open_tiles(tmp_path)


def test_a_shard_cut_short_keeps_the_tiles_before_the_cut(tmp_path, data_set, caplog):
    folder = write_shards(tmp_path / "cut", data_set, shards=1)
    shard = folder / "data" / "shard-0.tar"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with caplog.at_level(logging.ERROR):
        tiles = open_tiles(folder, max_bad_share=0.9).readable()
    assert 0 < len(tiles) < 6
    assert len(tiles) + len(tiles.bad.reasons) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [("fn,lon\na.tif,1\n", "no column lat"), ("fn,lon,lat\n", "contains no rows"), (None, "No table of tiles")],
)
def test_a_table_that_cannot_serve_is_refused(tmp_path, text, message):
    if text:
        (tmp_path / "index.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_tiles(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "index.csv").write_text("fn,lon,lat\na.tif,1,2\n")
    with pytest.raises(DataError, match="No images below"):
        open_tiles(tmp_path)


def test_the_fingerprint_sees_a_new_image_and_a_moved_place(tmp_path):
    rows = write_data_set(tmp_path, 2)
    before = open_tiles(tmp_path).fingerprint()
    write_table(tmp_path / "index.csv", [rows[0], (rows[1][0], rows[1][1] + 1e-9, rows[1][2])])
    moved = open_tiles(tmp_path).fingerprint()
    write_table(tmp_path / "index.csv", rows)
    assert open_tiles(tmp_path).fingerprint() == before != moved
    write_tile(tmp_path / "images" / "patch_0.tif", np.random.default_rng(9))
    assert open_tiles(tmp_path).fingerprint() != before


def test_a_larger_tile_gives_its_center(tmp_path):
    image = write_tile(tmp_path / "a.tif", np.random.default_rng(0), pixels=264)
    write_table(tmp_path / "index.csv", [("a.tif", 1, 2)])
    np.testing.assert_array_equal(open_tiles(tmp_path).read(0), image[:, 4:260, 4:260])


def test_reflectance_has_zeros_for_b10_and_every_other_band_in_order():
    pixels = torch.arange(12, dtype=torch.int32).mul(1000)[:, None, None].expand(12, 4, 4).to(torch.uint16)
    bands = reflectance(pixels)[:, 0, 0]
    order = [*BANDS[:10], "B10", *BANDS[10:]]
    expected = {name: BANDS.index(name) / 10 if name != "B10" else 0.0 for name in order}
    torch.testing.assert_close(bands, torch.tensor([expected[name] for name in order]))


def test_the_offset_stops_at_zero():
    pixels = torch.tensor([0, 500, 1000, 3000], dtype=torch.int32).to(torch.uint16).expand(12, 1, 4)
    torch.testing.assert_close(reflectance(pixels, offset=1000)[0, 0], torch.tensor([0.0, 0.0, 0.0, 0.2]))


@pytest.mark.shared
@needs_shared
def test_the_real_tiles_can_all_be_read():
    tiles = open_tiles(SHARED).readable()
    assert len(tiles) == 23
    assert tiles.bad.summary() == "23 of 23 tiles used"
    assert tiles.read(0).shape == (12, 256, 256)
    assert 500 < tiles.read(0).mean() < 12_000
