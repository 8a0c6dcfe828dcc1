import dataclasses
import json
import signal
import sys

import numpy as np
import pytest
import torch

from satclip_index.errors import ConfigError, DataError
from satclip_train.sentinel2.augment import center_crop, reflectance
from satclip_train.sentinel2.compute_features import compute_features
from satclip_train.sentinel2.feature_cache import MANIFEST, open_cache
from satclip_train.sentinel2.tiles import open_tiles
from satclip_train.sentinel2.vision_towers import make_tower

from ...processes import finished as run_process
from .fixtures import environment, small_config, to_toml, write_data_set, write_tile


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s2")
    write_data_set(folder, 20)
    return folder


@pytest.fixture(scope="module")
def computed(data_set, tmp_path_factory):
    config = small_config(data_set, cache=tmp_path_factory.mktemp("cache") / "features")
    return config, compute_features(config)


def _shards(config):
    from pathlib import Path

    return sorted(Path(config.cache.folder).glob("shard-*.safetensors"))


def test_the_cache_holds_what_the_tower_sees(computed, data_set):
    _, cache = computed
    tiles, tower = open_tiles(data_set), make_tower("random-conv", 16)
    assert cache.names == tiles.names
    np.testing.assert_array_equal(cache.lon, tiles.lon)
    np.testing.assert_array_equal(cache.lat, tiles.lat)
    rows = np.array([19, 0, 7, 8, 7])
    images = reflectance(torch.from_numpy(np.stack([tiles.read(int(row)) for row in rows])))
    expected = tower.features(center_crop(images, tower.crop)).numpy()
    np.testing.assert_allclose(cache.features(rows), expected, rtol=1e-3, atol=1e-4)  # half precision


def test_views_differ_from_each_other_and_are_the_same_when_made_again(computed, tmp_path):
    config, cache = computed
    rows = np.arange(len(cache))
    first, second = (cache.features(rows, np.full(rows.size, view)) for view in (0, 1))
    assert cache.views == 2
    assert (np.abs(first - second).max(axis=1) > 1e-3).mean() > 0.9
    again = compute_features(
        dataclasses.replace(config, cache=dataclasses.replace(config.cache, folder=str(tmp_path / "again")))
    )
    np.testing.assert_array_equal(again.features(rows, np.ones(rows.size, dtype=int)), second)


KILLED = """
import os, signal, sys
from satclip_train.sentinel2.compute_features import compute_features
from satclip_train.sentinel2.config import read_s2_config
def progress(done, total):
    if done > 8:  # in the second shard
        os.kill(os.getpid(), signal.SIGKILL)
compute_features(read_s2_config(sys.argv[1]), progress=progress)
"""


def test_a_killed_computation_goes_on_and_keeps_finished_shards(computed, data_set, tmp_path):
    reference = computed[1]
    config = small_config(data_set, cache=tmp_path / "features")
    to_toml(config, tmp_path / "c.toml")
    process = run_process([sys.executable, "-c", KILLED, "c.toml"], cwd=tmp_path, env=environment())
    assert process.returncode == -signal.SIGKILL, process.stderr
    finished = {path: path.stat().st_mtime_ns for path in _shards(config)}
    assert len(finished) == 1
    with pytest.raises(DataError, match=r"not finished. Resume: satclip-index train features"):
        open_cache(config)
    cache = compute_features(config)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    rows = np.arange(20)
    np.testing.assert_array_equal(cache.features(rows, rows % 2), reference.features(rows, rows % 2))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"cache": {"views": 3}}, "views changed; views was 2 and is 3"),
        ({"seed": 4}, "seed changed"),
        ({"data": {"offset": 1000}}, "offset changed"),
        ({"tower": {"name": "resnet18", "weights": "none"}}, "tower, weights changed; tower was 'random-conv'"),
    ],
)
def test_a_cache_of_something_else_is_refused_in_one_line(computed, data_set, changes, named):
    cache = {"folder": computed[0].cache.folder} | changes.get("cache", {})
    config = small_config(data_set, **changes | {"cache": cache})
    for use in (open_cache, compute_features):
        with pytest.raises(DataError, match=f"is stale: {named}") as refused:
            use(config)
        assert "\n" not in str(refused.value)


def test_a_cache_of_other_tiles_is_refused(tmp_path):
    write_data_set(tmp_path / "s2", 4)
    config = small_config(tmp_path / "s2", cache=tmp_path / "features")
    compute_features(config)
    write_tile(tmp_path / "s2" / "images" / "patch_1.tif", np.random.default_rng(5))
    with pytest.raises(DataError, match="is stale: data changed"):
        open_cache(config)


def test_a_cache_serves_without_its_tiles(computed, caplog):
    config = dataclasses.replace(computed[0], data=dataclasses.replace(computed[0].data, tiles="/nowhere/at/all"))
    assert open_cache(config).names == computed[1].names
    assert "cannot be checked" in caplog.text


def test_bad_tiles_are_left_out_of_the_cache_and_logged_after_a_resume(tmp_path):
    write_data_set(tmp_path / "s2", 6)
    file = tmp_path / "s2" / "images" / "patch_2.tif"
    file.write_bytes(file.read_bytes()[:11_000])
    config = small_config(tmp_path / "s2", cache=tmp_path / "features", data={"max_bad_share": 0.3})
    for _ in range(2):
        cache = compute_features(config)
        assert cache.left_out == "5 of 6 tiles used; left out: 1 unreadable"
        assert "patch_2.tif" not in cache.names


def test_too_many_bad_tiles_stop_the_computation(tmp_path):
    write_data_set(tmp_path / "s2", 6)
    for number in (2, 3):
        file = tmp_path / "s2" / "images" / f"patch_{number}.tif"
        file.write_bytes(file.read_bytes()[:11_000])
    config = small_config(tmp_path / "s2", cache=tmp_path / "features", data={"max_bad_share": 0.2})
    with pytest.raises(DataError, match="2 of 6 tiles are unusable"):
        compute_features(config)


def test_a_damaged_shard_is_named(tmp_path):
    write_data_set(tmp_path / "s2", 4)
    config = small_config(tmp_path / "s2", cache=tmp_path / "features")
    compute_features(config)
    shard = _shards(config)[0]
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"shard-00000.safetensors is damaged \(its size is wrong\)"):
        open_cache(config)
    shard.unlink()
    assert len(compute_features(config)) == 4


def test_no_cache_and_no_manifest_say_what_to_do(tmp_path, data_set):
    config = small_config(data_set, cache=tmp_path)
    with pytest.raises(DataError, match=r"No feature cache at .* satclip-index train features CONFIG"):
        open_cache(config)
    (tmp_path / MANIFEST).write_text(json.dumps([1]))
    with pytest.raises(DataError, match="not the manifest"):
        open_cache(config)
    with pytest.raises(ConfigError, match="has no cache"):
        compute_features(small_config(data_set))
