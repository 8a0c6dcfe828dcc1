"""Atlases at URLs: built there, opened there, and the same as in a folder; the object store is a real server."""

import hashlib
import json
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

import satclip_index as si
from satclip_index.errors import (
    AtlasExistsError,
    AtlasNotFoundError,
    BuildError,
    CorruptAtlasError,
    OutputError,
    RemoteError,
)

from ..builder.test_build import Stop, build, digests, stop_after
from ..conftest import child_environment
from ..oracles import make_encoder
from ..processes import finished

RES = [0, 1, 2]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SATCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def whole(encoder_file, tmp_path_factory):
    """Return the digests of an atlas built in a folder."""
    return digests(build(tmp_path_factory.mktemp("whole") / "atlas", encoder_file, res=RES).path)


@pytest.fixture(scope="module")
def world(store, encoder_file):
    """Build an atlas in the object store, once."""
    build("s3://bucket/world", encoder_file, res=RES, workers=2)
    return "s3://bucket/world"


@pytest.fixture
def url():
    """Name a place in memory, where nothing is."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    return "memory://maps/world"


def objects(url):
    file_system, root = fsspec.core.url_to_fs(url)
    file_system.invalidate_cache()
    return {path.removeprefix(f"{root}/"): file_system.cat_file(path) for path in file_system.find(root)}


def digests_at(url):
    return {name: hashlib.sha256(content).hexdigest() for name, content in objects(url).items()}


def overwrite(url, name, content):
    file_system, root = fsspec.core.url_to_fs(url)
    file_system.pipe_file(f"{root}/{name}", content)


def flipped(content):
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


def test_an_atlas_built_in_an_object_store_has_the_bytes_of_one_in_a_folder(world, whole):
    assert digests_at(world) == whole


def test_an_atlas_in_an_object_store_answers_as_one_in_a_folder(world, atlas, cli, cache):
    opened = si.open_atlas(world)
    assert opened.resolutions == RES
    assert not cache.exists()  # nothing was asked yet
    for place in ("Nairobi", (-70.5, -33.4)):
        here, there = (list(of.like(place, k=5, res=2).rows()) for of in (atlas, opened))
        assert here == there
    assert opened.path.parent == cache
    here, there = (cli("like", "Nairobi", "--res", "2", "--atlas", of) for of in (atlas.path, world))
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    counted = cli("sql", "SELECT count(*) AS n FROM cells", "--format", "csv", atlas=world)
    assert counted.stdout.split() == ["n", str(122 + 842 + 5882)]
    assert cli("verify", "--atlas", world).returncode == 0
    assert f"'{world}'" in repr(opened)
    elsewhere = pickle.loads(pickle.dumps(opened))
    assert list(elsewhere.like("Nairobi", k=2).rows()) == list(opened.like("Nairobi", k=2).rows())
    assert world in cli("info", atlas=world).stdout


def test_the_command_builds_where_a_url_says(store, cli, encoder_file):
    done = cli("build", "--atlas", "s3://bucket/typed", "--res", "0", "--encoder", str(encoder_file))
    assert done.returncode == 0, done.stderr
    assert "satclip-index like Nairobi --atlas s3://bucket/typed" in done.stderr
    assert not [line for line in store.requests() if "/typed/" in line and line.startswith("GET") and "res=0/c" in line]
    assert "122 cells" in cli("info", "--atlas", "s3://bucket/typed").stdout


def test_a_second_opening_reads_the_manifest_alone(world, store, cache):
    first = si.open_atlas(world).path
    before, times = store.requests(), {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    opened = si.open_atlas(world)
    assert opened.path == first
    assert len(opened.like("Nairobi", k=3)) == 3
    assert {line.split()[1] for line in store.requests()[len(before) :]} == {"/bucket/world/manifest.json"}
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == times


def test_two_who_open_an_atlas_at_the_same_time_fetch_it_once(world, store, whole):
    before = len(store.requests())
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: si.open_atlas(world).path, range(4)))
    assert len(folders) == 1
    assert digests(folders.pop()) == whole
    got = [line.split()[1] for line in store.requests()[before:] if line.startswith("GET")]
    assert {name: got.count(name) for name in got} == {
        f"/bucket/world/{name}": 4 if name == "manifest.json" else 1 for name in whole
    }


def test_info_fetches_nothing_but_the_manifest(world, cli, cache):
    assert "res 2" in cli("info", atlas=world).stdout
    assert not cache.exists()


def test_fetching_is_told_to_the_last_byte(world):
    seen = []
    opened = si.open_atlas(world, progress=lambda *pair: seen.append(pair))
    assert seen == []
    opened.like("Nairobi", k=1)
    total = sum(file.size for file in opened.manifest.files)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_what_is_cut_or_gone_in_the_cache_is_fetched_again(url, encoder_file, whole):
    folder = build(url, encoder_file, res=RES).path
    (folder / "res=2" / "index.faiss").write_bytes(b"cut")
    (folder / "res=1" / "cells" / "part-00000.parquet").unlink()
    assert digests(si.open_atlas(url).path) == whole


def test_what_was_changed_in_the_cache_is_found_by_verify(url, encoder_file, cli):
    folder = build(url, encoder_file, res=RES).path
    path = folder / "res=2" / "index.faiss"
    path.write_bytes(flipped(path.read_bytes()))
    found = si.verify_atlas(url)
    assert [name for name, _ in found.findings] == ["res=2/index.faiss"]
    done = cli("verify", atlas=url)
    assert done.returncode == 1
    assert "SATCLIP_CACHE" in " ".join(done.stderr.split())


@pytest.mark.parametrize("change", [flipped, lambda content: content[:-1], lambda content: content + b"x"])
def test_a_file_that_is_not_what_was_written_is_not_taken(url, encoder_file, change, cache):
    build(url, encoder_file, res=RES)
    overwrite(url, "res=2/tree.safetensors", change(objects(url)["res=2/tree.safetensors"]))
    opened = si.open_atlas(url)
    with pytest.raises(CorruptAtlasError, match=r"tree\.safetensors is damaged") as caught:
        opened.like("Nairobi")
    assert "\n" not in str(caught.value)
    assert not list(cache.rglob("res=2/tree*"))
    assert not list(cache.rglob("manifest.json"))


def test_an_atlas_that_was_replaced_is_another_in_the_cache(url, encoder_file):
    build(url, encoder_file, res=0)
    before = si.open_atlas(url)
    assert before.path.is_dir()
    fsspec.filesystem("memory").store.clear()
    build(url, make_encoder(9), res=[0, 1])
    after = si.open_atlas(url)
    assert after.resolutions == [0, 1]
    assert after.path != before.path
    assert len(before.like((0, 0), k=1)) == len(after.like((0, 0), k=1)) == 1


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "res=0/../../../evil", "C:evil", "\\evil"])
def test_a_manifest_cannot_name_files_outside_the_cache(url, encoder_file, name, cache, tmp_path):
    build(url, encoder_file, res=0)
    described = json.loads(objects(url)["manifest.json"])
    described["files"].append({"path": name, "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()})
    described["sha256"] = ""
    signed = hashlib.sha256((json.dumps(described, indent=1, sort_keys=True) + "\n").encode()).hexdigest()
    described["sha256"] = signed
    overwrite(url, "manifest.json", (json.dumps(described, indent=1, sort_keys=True) + "\n").encode())
    with pytest.raises(CorruptAtlasError, match="outside of the atlas"):
        si.open_atlas(url)
    assert not cache.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == []


def test_a_manifest_that_was_changed_is_refused(url, encoder_file):
    build(url, encoder_file, res=0)
    overwrite(url, "manifest.json", objects(url)["manifest.json"].replace(b'"land_only": false', b'"land_only": true'))
    with pytest.raises(CorruptAtlasError, match="is damaged"):
        si.open_atlas(url)


def test_a_cache_that_cannot_be_written_is_one_line(url, encoder_file, monkeypatch, tmp_path):
    opened = build(url, encoder_file, res=0)
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("SATCLIP_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="SATCLIP_CACHE") as caught:
        opened.like((0, 0))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_reached_is_one_line(store, cli):
    cases = {
        "s3://nobucket/world": "No atlas",
        "s3://bucket/nothing": "No atlas",
        "s3://": "is not the URL of a folder",
        "gs://bucket/world": "pip install gcsfs",
        "nosuch://x": "Protocol not known",
        "ftp://me:secret@127.0.0.1:9/world": "cannot be reached",
    }
    for url, said in cases.items():
        done = cli("info", "--atlas", url)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert said in done.stderr
        assert "secret" not in done.stderr
    with pytest.raises(RemoteError, match="bucket does not exist"):
        build("s3://nobucket/world", make_encoder(), res=0)
    for url in ("s3://nobucket/world", "s3://bucket/nothing"):
        with pytest.raises(AtlasNotFoundError):
            si.open_atlas(url)


def test_missing_credentials_and_a_dead_server_are_one_line(store, process):
    without = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    without |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
    for env, said in (
        (without, "NoCredentialsError"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect"),
    ):
        done = process("info", "--atlas", "s3://bucket/world", env=env)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert said in done.stderr


KILLED = """
import os, signal, sys
from satclip_index.builder.build import build_atlas
def progress(done, total):
    if done > total / 3:
        os.kill(os.getpid(), signal.SIGKILL)
build_atlas(sys.argv[1], encoder=sys.argv[2], res=[0, 1, 2, 3], device="cpu", workers=1, progress=progress)
"""


@pytest.mark.slow
def test_a_build_in_an_object_store_that_is_killed_goes_on_to_the_same_bytes(store, encoder_file, tmp_path):
    url = "s3://bucket/killed"
    child = finished([sys.executable, "-c", KILLED, url, encoder_file], env=child_environment(store.env))
    assert child.returncode == -9, child.stderr
    left = objects(url)
    assert {"build.lock", "journal.jsonl"} < left.keys()
    assert "manifest.json" not in left
    with pytest.raises(AtlasNotFoundError):
        si.open_atlas(url)
    with pytest.raises(BuildError, match="--resume"):
        build(url, encoder_file, res=[0, 1, 2, 3])
    before, seen = len(store.requests()), []
    build(url, encoder_file, res=[0, 1, 2, 3], resume=True, progress=lambda *pair: seen.append(pair))
    assert seen[0][0] > seen[0][1] / 3
    put = [line.split()[1] for line in store.requests()[before:] if line.startswith("PUT")]
    kept = {f"/bucket/killed/{name}" for name in left if "/cells/" in name}
    assert kept
    assert not kept & set(put)
    assert digests_at(url) == digests(build(tmp_path / "atlas", encoder_file, res=[0, 1, 2, 3]).path)


@pytest.mark.parametrize("after", [0.0, 0.1, 1.0])
def test_an_interrupted_build_at_a_url_goes_on_to_the_same_bytes(url, encoder_file, whole, after):
    with pytest.raises(Stop):
        build(url, encoder_file, res=RES, progress=stop_after(after))
    assert "build.lock" not in objects(url)
    with pytest.raises(AtlasNotFoundError):
        si.open_atlas(url)
    with pytest.raises(BuildError, match="encoder tiny"):
        build(url, make_encoder(9), res=RES, resume=True)
    build(url, encoder_file, res=RES, resume=True)
    assert digests_at(url) == whole
    build(url, encoder_file, res=RES, resume=True)  # it is complete, and opened
    assert digests_at(url) == whole


def test_an_interrupted_build_at_a_url_starts_over_with_force(url, encoder_file, whole):
    with pytest.raises(Stop):
        build(url, make_encoder(9), res=[0, 3], progress=stop_after(0.5))
    build(url, encoder_file, res=RES, force=True)
    assert digests_at(url) == whole


@pytest.mark.parametrize("name", ["res=2/cells/part-00000.parquet", "res=0/index.faiss"])
def test_what_was_cut_at_a_url_since_is_made_again(url, encoder_file, whole, name):
    with pytest.raises(Stop):
        build(url, encoder_file, res=RES, progress=stop_after(1.0))
    overwrite(url, name, objects(url)[name][:-1])
    build(url, encoder_file, res=RES, resume=True)
    assert digests_at(url) == whole


def test_a_segment_that_was_damaged_at_a_url_is_refused_and_then_made_again(url, encoder_file, tmp_path):
    with pytest.raises(Stop):
        build(url, encoder_file, res=[0, 3], workers=1, progress=stop_after(0.5))
    name = "res=3/segments/part-00000.safetensors"
    overwrite(url, name, flipped(objects(url)[name]))
    with pytest.raises(CorruptAtlasError, match="--resume"):
        build(url, encoder_file, res=[0, 3], resume=True)
    build(url, encoder_file, res=[0, 3], resume=True)
    assert digests_at(url) == digests(build(tmp_path / "atlas", encoder_file, res=[0, 3]).path)


@pytest.mark.parametrize("force", [False, True])
def test_an_atlas_at_a_url_is_not_replaced(url, encoder_file, force):
    build(url, encoder_file, res=0)
    before = objects(url)
    with pytest.raises(AtlasExistsError, match="does not replace"):
        build(url, make_encoder(9), res=0, force=force)
    assert objects(url) == before


def test_what_is_not_an_atlas_at_a_url_is_left_alone(url, encoder_file):
    overwrite(url, "me.jpg", b"x")
    for options in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(AtlasExistsError, match="is not replaced"):
            build(url, encoder_file, **options)
    assert objects(url) == {"me.jpg": b"x"}


def test_a_second_builder_at_a_url_is_refused_while_the_first_runs(url, encoder_file, whole):
    refused = []

    def progress(done, total):
        if not refused:
            with pytest.raises(AtlasExistsError, match="is running") as caught:
                build(url, encoder_file, res=RES, resume=True)
            refused.append(caught.value)

    build(url, encoder_file, res=RES, progress=progress)
    assert f"process {os.getpid()}" in str(refused[0])
    assert digests_at(url) == whole


@pytest.mark.parametrize("lock", [b'{"host": "elsewhere", "process": 1, "since": "noon"}', b"", b"[]"])
def test_the_lock_of_another_machine_is_respected(url, encoder_file, lock):
    overwrite(url, "build.lock", lock)
    with pytest.raises(AtlasExistsError, match=r"remove .*build\.lock"):
        build(url, encoder_file)
    assert objects(url) == {"build.lock": lock}


def test_a_file_url_is_exactly_that_path(tmp_path, encoder_file, whole):
    folder = tmp_path / "a b" / "atlas"
    build(folder.as_uri(), encoder_file, res=RES)
    assert digests(folder) == whole
    assert si.open_atlas(f"file://{folder}").path == si.open_atlas(folder.as_uri()).path == folder
    with pytest.raises(OutputError, match="elsewhere"):
        si.open_atlas("file://elsewhere/atlas")
