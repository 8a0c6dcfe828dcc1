"""Builds on a real Ray: the bytes of threads, whoever is killed meanwhile."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from satclip_index.builder._build_settings import BuildSettings, rounding_environment
from satclip_index.builder._folder_target import FolderStorage
from satclip_index.builder._ray_engine import _ray, _Worker
from satclip_index.errors import BuildError, MissingExtraError

from ..conftest import CLI, child_environment
from ..object_store import environment
from ..oracles import make_encoder
from ..processes import HANG_S, started
from ..storage.test_remote import digests_at
from .test_build import Stop, build, digests, stop_after

RES = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def ray(store, tmp_path_factory):
    """Start one Ray for all builds here, with two processors; its workers find the object store as we do."""
    home = str(tmp_path_factory.mktemp("home"))  # Ray writes there
    with (
        environment({"PYTHONPATH": child_environment()["PYTHONPATH"], "HOME": home}),
        _ray(BuildSettings(None, False, "cpu", None, workers=2)) as started,
    ):
        yield started
    assert not started.is_initialized()


def workers_of(process):
    """Return the ids of the workers of ours that descend from a process."""
    parents, ours = {}, []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if (entry / "cmdline").read_text().startswith("ray::_Worker"):
                ours.append(int(entry.name))

    def above(one):
        while one := parents.get(one):
            yield one

    return [one for one in ours if process in above(one)]


def kill_one(process):
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(workers_of(process)[0], signal.SIGKILL)
        return True
    return False


def test_ray_gives_the_bytes_of_threads_though_a_worker_is_killed(ray, store, encoder_file, tmp_path):
    """At a URL there, in a folder here; of four shards, two were in hand when it was killed."""
    seen = []

    def progress(*pair):
        if not seen:
            assert len(workers_of(os.getpid())) == 2
            assert kill_one(os.getpid())
        seen.append(pair)

    build("s3://bucket/by-ray", encoder_file, res=RES, land_only=True, engine="ray", progress=progress)
    assert seen[-1] == (48_008, 48_008)
    whole = build(tmp_path / "whole", encoder_file, res=RES, land_only=True)
    assert digests_at("s3://bucket/by-ray") == digests(whole.path)
    assert ray.is_initialized()  # it was not this build's to end


def test_a_ray_that_is_started_here_is_reached_from_here_alone(ray):
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]


@pytest.mark.slow
def test_workers_that_keep_dying_end_a_build_that_threads_go_on_with(ray, encoder_file, tmp_path):
    done = threading.Event()

    def kill_all():
        while not done.wait(0.02):
            kill_one(os.getpid())

    killer = threading.Thread(target=kill_all)

    def progress(*_):
        if not killer.is_alive():
            killer.start()

    try:
        with pytest.raises(BuildError, match="workers died at") as caught:
            build(tmp_path / "atlas", encoder_file, res=RES, engine="ray", workers=1, progress=progress)
    finally:
        done.set()
        killer.join()
    assert "--resume" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas.partial"]
    seen = []
    made = build(tmp_path / "atlas", encoder_file, res=RES, resume=True, progress=lambda *pair: seen.append(pair))
    assert seen[0][0] > 0
    assert digests(made.path) == digests(build(tmp_path / "whole", encoder_file, res=RES).path)


@pytest.mark.slow
def test_ray_goes_on_with_a_build_of_threads(ray, encoder_file, tmp_path):
    with pytest.raises(Stop):
        build(tmp_path / "atlas", encoder_file, res=RES, workers=1, progress=stop_after(0.01))
    made = build(tmp_path / "atlas", encoder_file, res=RES, resume=True, engine="ray")
    assert digests(made.path) == digests(build(tmp_path / "whole", encoder_file, res=RES).path)


@pytest.mark.slow
def test_a_worker_that_would_give_other_bytes_is_refused(ray, encoder_file, tmp_path, monkeypatch):
    other = rounding_environment() | {"processor": "another"}
    monkeypatch.setattr("satclip_index.builder._ray_engine.rounding_environment", lambda: other)
    with pytest.raises(BuildError, match="started with another, and the bytes would differ") as caught:
        build(tmp_path / "atlas", encoder_file, engine="ray")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_is_refused_that_would_give_other_bytes_or_does_not_see_the_folder(encoder_file, tmp_path):
    expected = rounding_environment()
    worker = _Worker(encoder_file.read_bytes(), False, "cpu", FolderStorage(tmp_path), expected)
    with pytest.raises(BuildError, match="all machines share"):
        worker.check()
    (tmp_path / "journal.jsonl").touch()
    worker.check()
    expected["libraries"] = expected["libraries"] | {"numpy": "0.1"}
    with pytest.raises(BuildError, match=r"libraries numpy [\d.]+; the build was started with numpy 0\.1,"):
        worker.check()


def test_a_cluster_without_what_is_asked_for_is_refused(ray, encoder_file, tmp_path):
    with pytest.raises(BuildError, match="has no GPU"):
        build(tmp_path / "atlas", encoder_file, engine="ray", device="cuda")
    assert list(tmp_path.iterdir()) == []


def test_ray_that_is_not_installed_is_named(encoder_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"satclip-index\[ray\]"):
        build(tmp_path / "atlas", encoder_file, engine="ray")


def test_engines_that_cannot_be_are_refused(encoder_file, tmp_path, cli):
    with pytest.raises(BuildError, match="threads or ray"):
        build(tmp_path / "atlas", encoder_file, engine="dask")
    with pytest.raises(BuildError, match="--engine ray"):
        build(tmp_path / "atlas", encoder_file, address="auto")
    assert cli("build", "--engine", "dask").returncode == 2


@pytest.mark.slow
def test_a_build_by_ray_goes_on_without_a_worker_that_was_killed_and_is_quiet(tmp_path):
    """Of 10 shards, by a Ray of the command's own; it says what the engine of threads says, and nothing else."""
    make_encoder(L=2, capacity=4, dim=4).save(tmp_path / "encoder.safetensors")
    options = ["--encoder", "encoder.safetensors", "--res", "4", "--workers", "2", "--engine", "ray"]
    command = [*CLI, "build", "--atlas", "by-ray", *options]
    environment = child_environment({"HOME": str(tmp_path)})  # Ray writes there
    with started(command, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path, env=environment) as child:
        journal, lines = tmp_path / "by-ray.partial" / "journal.jsonl", 0
        while child.poll() is None and lines < 3:  # what is to be built, and two shards
            time.sleep(0.01)
            lines = journal.read_text().count("\n") if journal.exists() else 0
        assert kill_one(child.pid)
        said, complained = child.communicate(timeout=HANG_S)
    assert child.returncode == 0, complained
    assert said == ""
    assert [line.split()[0] for line in complained.splitlines()] == ["Building", "Built"], complained
    whole = build(tmp_path / "whole", tmp_path / "encoder.safetensors", res=4)
    assert digests(tmp_path / "by-ray") == digests(whole.path)


UNREACHABLE = """
import os, sys
from satclip_index.builder.build import build_atlas
from satclip_index.errors import BuildError
for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "nowhere.invalid:6379"):
    for given in (address, None):
        os.environ["RAY_ADDRESS"] = address
        try:
            build_atlas(sys.argv[1], encoder=sys.argv[2], res=0, device="cpu", engine="ray", address=given)
        except BuildError as error:
            assert address in str(error) and "cannot be reached" in str(error), error
            print(len(str(error).splitlines()))
"""


def test_a_cluster_that_cannot_be_reached_is_one_line(run_python, encoder_file, tmp_path):
    done = run_python(UNREACHABLE, tmp_path / "atlas", encoder_file)
    assert done.stdout.split() == ["1"] * 6, done.stderr
    assert list(tmp_path.iterdir()) == []
