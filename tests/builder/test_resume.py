"""An interrupted build goes on, and its atlas is byte for byte that of one that was not."""

import json

import pytest

import satclip_index as si
from satclip_index.errors import AtlasExistsError, BuildError, SatclipIndexError

from ..builders import threads
from ..oracles import make_encoder
from .test_build import Stop, build, digests, stop_after

RES = [0, 1, 2, 3]


@pytest.fixture(scope="module")
def whole(encoder_file, tmp_path_factory):
    """Give the files of a build that nobody interrupted, by resolutions."""
    made = {}

    def get(res):
        if tuple(res) not in made:
            folder = tmp_path_factory.mktemp("whole") / "atlas"
            made[tuple(res)] = digests(build(folder, encoder_file, res=list(res)).path)
        return made[tuple(res)]

    return get


def interrupted(path, encoder, *, after=0.0, **options):
    with pytest.raises(Stop):
        build(path, encoder, progress=stop_after(after), **options)


def opens_as_nothing(folder):
    for found in folder.iterdir():
        with pytest.raises(SatclipIndexError):
            si.open_atlas(found)


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_leaves_no_trace(tmp_path, encoder_file, whole, workers):
    assert digests(build(tmp_path / "atlas", encoder_file, res=RES, workers=workers).path) == whole(RES)


def test_the_number_of_threads_leaves_no_trace(tmp_path, builders, run_python):
    """By components of 256 dimensions, on which one and four threads of OpenBLAS disagree."""
    make_encoder(dim=256).save(tmp_path / "encoder.safetensors")
    program = """
import sys
from satclip_index import build_atlas
build_atlas(sys.argv[1] + "/4", encoder=sys.argv[1] + "/encoder.safetensors", res=[1, 2], device="cpu")
"""
    done = run_python(program, tmp_path, env=threads(4))
    assert done.returncode == 0, done.stderr
    assert builders.run(tmp_path / "1", encoder=str(tmp_path / "encoder.safetensors"), res=[1, 2]) == 0  # by one
    assert digests(tmp_path / "1") == digests(tmp_path / "4")


@pytest.mark.parametrize("after", [0.0, 0.01, 0.1, 1.0])
def test_a_resumed_build_gives_the_bytes_of_a_whole_one(tmp_path, encoder_file, whole, after):
    interrupted(tmp_path / "atlas", encoder_file, res=RES, after=after)
    opens_as_nothing(tmp_path)
    made = build(tmp_path / "atlas", encoder_file, res=RES, resume=True)
    assert digests(made.path) == whole(RES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas"]


def test_a_resumed_build_does_not_make_again_what_is_done(tmp_path, encoder_file):
    interrupted(tmp_path / "atlas", encoder_file, res=[0, 4], after=0.5)
    lines = [json.loads(line) for line in (tmp_path / "atlas.partial" / "journal.jsonl").read_text().splitlines()]
    kept = {file["path"]: tmp_path / "atlas.partial" / file["path"] for line in lines[1:] for file in line["files"]}
    times = {name: path.stat().st_mtime_ns for name, path in kept.items() if path.suffix == ".parquet"}
    seen = []
    build(tmp_path / "atlas", encoder_file, res=[0, 4], resume=True, progress=lambda *pair: seen.append(pair))
    assert {name: (tmp_path / "atlas" / name).stat().st_mtime_ns for name in times} == times
    assert len(times) >= 5
    assert seen[0][0] >= 0.5 * seen[0][1]
    assert seen[-1] == (122 + 288_122, 122 + 288_122)


def test_an_unfinished_build_is_not_lost_without_a_word(tmp_path, encoder_file):
    interrupted(tmp_path / "atlas", encoder_file)
    before = digests(tmp_path / "atlas.partial")
    with pytest.raises(BuildError, match="--resume") as caught:
        build(tmp_path / "atlas", encoder_file)
    assert "\n" not in str(caught.value)
    assert "--force" in str(caught.value)
    assert digests(tmp_path / "atlas.partial") == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"res": [0, 2]}, "res 0, 1; this one has 0, 2"),
        ({"land_only": True}, "land_only False"),
        ({"encoder": make_encoder(9)}, "encoder tiny"),
    ],
)
def test_another_build_does_not_go_on_with_this_one(tmp_path, encoder, change, named):
    interrupted(tmp_path / "atlas", encoder)
    before = digests(tmp_path / "atlas.partial")
    with pytest.raises(BuildError, match=named) as caught:
        build(tmp_path / "atlas", **{"encoder": encoder, "resume": True} | change)
    assert "--force" in str(caught.value)
    assert digests(tmp_path / "atlas.partial") == before


def test_resuming_nothing_builds_and_resuming_what_is_done_opens(tmp_path, encoder_file, whole):
    first = build(tmp_path / "atlas", encoder_file, res=RES, resume=True)
    assert digests(first.path) == whole(RES)
    seen = []
    build(tmp_path / "atlas", encoder_file, res=RES, resume=True, progress=lambda *pair: seen.append(pair))
    assert seen == []
    with pytest.raises(AtlasExistsError, match="--force"):
        build(tmp_path / "atlas", encoder_file, res=[0], resume=True)


@pytest.mark.parametrize("name", ["res=1/cells/part-00000.parquet", "res=0/index.faiss", "res=1/tree.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_what_was_damaged_since_is_made_again(tmp_path, encoder_file, whole, name, damage):
    interrupted(tmp_path / "atlas", encoder_file, res=RES, after=1.0)
    path = tmp_path / "atlas.partial" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    if damage != "gone":
        path.write_bytes(data if damage == "flip" else data[:-1])
    assert digests(build(tmp_path / "atlas", encoder_file, res=RES, resume=True).path) == whole(RES)


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_journal_is_read_up_to_what_cannot_be(tmp_path, encoder_file, whole, damage):
    interrupted(tmp_path / "atlas", encoder_file, res=RES, after=0.1)
    path = tmp_path / "atlas.partial" / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(path.read_bytes()[:-7] if damage == "cut" else b"\n".join([*lines[:2], b"\0\0", *lines[2:]]))
    assert digests(build(tmp_path / "atlas", encoder_file, res=RES, resume=True).path) == whole(RES)


def test_an_interrupted_replacement_goes_on_and_the_old_atlas_is_there_until_then(
    tmp_path, encoder, encoder_file, whole
):
    old = digests(build(tmp_path / "atlas", make_encoder(9)).path)
    interrupted(tmp_path / "atlas", encoder_file, res=RES, after=0.1, force=True)
    assert digests(tmp_path / "atlas") == old
    assert digests(build(tmp_path / "atlas", encoder_file, res=RES, resume=True).path) == whole(RES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas"]


def test_workers_that_cannot_be_are_refused(tmp_path, encoder):
    for workers in (0, -1, 1.5, True, "2"):
        with pytest.raises(BuildError, match="workers"):
            build(tmp_path / "atlas", encoder, workers=workers)
