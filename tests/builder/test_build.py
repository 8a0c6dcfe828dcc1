import fcntl
import hashlib
import os
import signal

import numpy as np
import pytest

import satclip_index as si
from satclip_index.builder.build import _segment_bytes, build_atlas, estimated_bytes
from satclip_index.errors import (
    AtlasExistsError,
    AtlasNotFoundError,
    EncoderError,
    OutputError,
    ResolutionError,
    SatclipIndexError,
)

from ..oracles import make_encoder, stored


def digests(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def build(path, encoder, **options):
    return build_atlas(path, encoder=encoder, **{"res": [0, 1], "device": "cpu"} | options)


class Stop(Exception):
    pass


def stop_after(share):
    def progress(done, total):
        if done >= share * total:
            raise Stop

    return progress


@pytest.mark.parametrize("land_only", [False, True])
def test_an_atlas_holds_every_cell_of_its_resolutions(tmp_path, encoder, land_only):
    made = build(tmp_path / "atlas", encoder, res=[2, 0, 1, 1], land_only=land_only)
    assert made.resolutions == [0, 1, 2]
    for res in (0, 1, 2):
        columns = stored(made, res)
        assert made.manifest.entry(res).count == columns["cell"].size
        assert made.manifest.entry(res).land_count == columns["land"].sum()
        if land_only:
            assert columns["land"].all()
            assert 0.2 < columns["cell"].size / (2 + 120 * 7**res) < 0.5
        else:
            assert columns["cell"].size == 2 + 120 * 7**res


def test_only_the_promised_files_are_there(tmp_path, encoder):
    build(tmp_path / "atlas", encoder)
    names = sorted(digests(tmp_path))
    files = ("cells/part-00000.parquet", "index.faiss", "tree.safetensors")
    assert names == [
        "atlas/components.safetensors",
        "atlas/encoder.safetensors",
        "atlas/manifest.json",
        *(f"atlas/res={res}/{name}" for res in (0, 1) for name in files),
    ]


def test_the_same_build_gives_the_same_bytes(tmp_path, encoder_file):
    for name in ("one", "two"):
        build(tmp_path / name, encoder_file, res=[0, 2])
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len(digests(tmp_path / "one")) == 9


def test_one_resolution_is_a_number(tmp_path, encoder):
    assert build(tmp_path / "atlas", encoder, res=1).resolutions == [1]
    assert build(tmp_path / "other", encoder, res=np.array([0])).resolutions == [0]


def test_several_shards_are_one_run_of_rows(tmp_path):
    made = build(tmp_path / "atlas", make_encoder(L=2, capacity=4, dim=4), res=4)
    assert len(list((made.path / "res=4" / "cells").iterdir())) > 5
    columns = stored(made, 4)
    assert columns["cell"].size == 288_122
    assert (np.diff(columns["cell"].astype(np.int64)) > 0).all()
    rows = np.arange(0, 288_122, 997)
    np.testing.assert_array_equal(made.index().vectors.of_rows(rows), columns["embedding"][rows])


def test_progress_counts_to_the_number_of_cells(tmp_path, encoder):
    seen = []
    build(tmp_path / "atlas", encoder, res=[1, 3], land_only=True, progress=lambda *pair: seen.append(pair))
    total = 842 + 41_162
    assert {pair[1] for pair in seen} == {total}
    assert [pair[0] for pair in seen] == sorted(pair[0] for pair in seen)
    assert seen[-1][0] == total
    assert seen[0][0] == 842


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_an_interrupted_build_leaves_no_atlas_and_the_next_may_start_over(tmp_path, encoder, error):
    def progress(done, total):
        raise error

    with pytest.raises(error):
        build(tmp_path / "atlas", encoder, progress=progress)
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas.partial"]
    for name in ("atlas", "atlas.partial"):
        with pytest.raises(AtlasNotFoundError):
            si.open_atlas(tmp_path / name)
    assert build(tmp_path / "atlas", encoder, force=True).resolutions == [0, 1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas"]


@pytest.mark.parametrize("before", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_killed_build_leaves_nothing_that_opens_and_the_next_succeeds(tmp_path, encoder, builders, before):
    path = tmp_path / "atlas"
    old = digests(build(path, encoder).path) if before else None
    code = builders.run(path, res=[2, 4], force=True, die_above=5882)  # in the middle of res 4
    assert code == -signal.SIGKILL
    assert (tmp_path / "atlas.partial").is_dir()
    for found in tmp_path.iterdir():
        if found == path:
            assert digests(path) == old
        else:
            with pytest.raises(SatclipIndexError):
                si.open_atlas(found)
    made = build(path, encoder, res=[2], force=True)
    assert made.resolutions == [2]
    assert {entry.name for entry in tmp_path.iterdir()} == {"atlas"}


def test_an_atlas_is_not_replaced_without_force(tmp_path, encoder):
    before = digests(build(tmp_path / "atlas", encoder).path)
    with pytest.raises(AtlasExistsError, match="--force"):
        build(tmp_path / "atlas", make_encoder(9))
    assert digests(tmp_path / "atlas") == before


def test_force_replaces_an_atlas_once_the_new_one_is_complete(tmp_path, encoder):
    build(tmp_path / "atlas", encoder)
    other = make_encoder(9)
    seen = []
    made = build(
        tmp_path / "atlas", other, res=[2], force=True,
        progress=lambda *_: seen.append(si.open_atlas(tmp_path / "atlas").manifest.encoder["sha256"]),
    )  # fmt: skip
    assert seen == [encoder.sha256]
    assert made.manifest.encoder["sha256"] == other.sha256
    assert made.resolutions == [2]
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas"]


def test_an_atlas_is_replaced_where_folders_cannot_be_swapped_in_one_step(tmp_path, encoder, monkeypatch):
    build(tmp_path / "atlas", encoder)
    monkeypatch.setattr("satclip_index.builder._folder_target.exchange", lambda path, other: False)  # as on macOS
    assert build(tmp_path / "atlas", encoder, res=[2], force=True).resolutions == [2]
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas"]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_failed_build_with_force_leaves_the_old_atlas_as_it_was(tmp_path, encoder, share):
    before = digests(build(tmp_path / "atlas", encoder).path)
    with pytest.raises(Stop):
        build(tmp_path / "atlas", make_encoder(9), force=True, progress=stop_after(share))
    assert digests(tmp_path / "atlas") == before
    assert len(si.open_atlas(tmp_path / "atlas").like((0, 0), k=3)) == 3


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_not_an_atlas_is_left_alone(tmp_path, encoder, kind, force):
    path = tmp_path / "photos"
    if kind == "folder":
        path.mkdir()
        (path / "me.jpg").write_text("x")
    else:
        path.write_text("x")
    with pytest.raises(AtlasExistsError, match="is not replaced"):
        build(path, encoder, force=force)
    assert list(digests(tmp_path)) == ["photos/me.jpg" if kind == "folder" else "photos"]


def test_an_empty_folder_is_a_place_to_build(tmp_path, encoder):
    (tmp_path / "atlas").mkdir()
    assert build(tmp_path / "atlas", encoder).resolutions == [0, 1]


def test_folders_on_the_way_are_made(tmp_path, encoder):
    assert build(tmp_path / "a" / "b c" / "it's [x]", encoder).like((0, 0), k=1).rank.tolist() == [1]


@pytest.mark.parametrize("where", [".", "", "..", "./", "sub/.."])
def test_the_folder_one_stands_in_is_refused_and_kept(tmp_path, encoder, monkeypatch, where):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "here" / "sub" if where in (".", "", "./") else tmp_path / "here")
    with pytest.raises((AtlasExistsError, OutputError)) as caught:
        build(where, encoder)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "here" / "sub").is_dir()
    assert digests(tmp_path) == {}


def test_a_second_builder_is_refused_while_the_first_runs(tmp_path, encoder):
    refused = []

    def progress(done, total):
        if not refused:
            with pytest.raises(AtlasExistsError, match="is running") as caught:
                build(tmp_path / "atlas", make_encoder(9))
            refused.append(caught.value)

    made = build(tmp_path / "atlas", encoder, progress=progress)
    assert refused
    assert made.manifest.encoder["sha256"] == encoder.sha256
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas"]


def test_a_builder_in_another_process_is_refused_too(tmp_path, encoder, builders):
    codes = []

    def progress(done, total):
        if not codes:
            codes.append(builders.run(tmp_path / "atlas", res=0))

    build(tmp_path / "atlas", encoder, progress=progress)
    assert codes == [2]
    assert builders.error[0] == "AtlasExistsError"
    assert "Another build" in builders.error[1]


def test_a_lock_left_by_a_dead_builder_does_not_block(tmp_path, encoder):
    (tmp_path / "atlas.lock").touch()
    (tmp_path / "atlas.partial").mkdir()
    (tmp_path / "atlas.partial" / "rest").write_text("x")
    build(tmp_path / "atlas", encoder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["atlas"]


def test_a_held_lock_is_respected(tmp_path, encoder):
    descriptor = os.open(tmp_path / "atlas.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(AtlasExistsError, match="is running"):
            build(tmp_path / "atlas", encoder)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("where", ["file/atlas", "/proc/atlas", "/dev/null/atlas", "x" * 300, "a\0b"])
def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path, encoder, where):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError) as caught:
        build(tmp_path / where, encoder)
    assert "\n" not in str(caught.value)
    assert list(digests(tmp_path)) == ["file"]


FULL_AT = [  # which file is the first that is too large
    ("parquet", 50_000, 1, {}),
    ("index", 450_000, 1, {"dim": 256}),
    ("encoder", 500_000, 0, {"L": 20, "capacity": 512}),
]


def test_a_disk_that_fills_up_is_an_error_of_ours_and_leaves_only_what_is_done(tmp_path, builders):
    for name, limit, res, options in FULL_AT:
        whole = build(tmp_path / name, make_encoder(**options), res=res)
        sizes = {file.path: file.size for file in whole.manifest.files}
        assert all((size > limit) == (name in path) for path, size in sizes.items()), sizes
        make_encoder(**options).save(tmp_path / f"{name}.safetensors")
        out = tmp_path / f"{name} full"
        code = builders.run(out / "atlas", encoder=str(tmp_path / f"{name}.safetensors"), res=res, limit=limit)
        assert code in (2, 28)
        assert builders.error[0] == "OutputError"
        assert "could not be written" in builders.error[1]
        assert len(list(out.iterdir())) == (name == "encoder")


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path, encoder):
    with pytest.raises(OutputError, match=r"needs about .* GB"):
        build(tmp_path / "atlas", encoder, res=9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("res", [[], -1, 10, 15, "3", 3.5, [3, None], [True]])
def test_a_resolution_that_cannot_be_is_refused(tmp_path, encoder, res):
    with pytest.raises(ResolutionError):
        build(tmp_path / "atlas", encoder, res=res)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bluemarbel", "missing.ckpt"])
def test_an_unknown_encoder_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(EncoderError):
        build(tmp_path / "atlas", name)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_without_direction_is_refused_and_leaves_nothing(tmp_path):
    encoder = make_encoder(0)
    encoder.network.last_layer.weight.zero_()
    encoder.network.last_layer.bias.zero_()
    with pytest.raises(EncoderError, match="zero"):
        build(tmp_path / "atlas", encoder)
    assert list(tmp_path.iterdir()) == []


def test_the_size_estimate_is_near_for_256_dimensions(tmp_path):
    made = build(tmp_path / "atlas", make_encoder(L=10, capacity=64, dim=256), res=3)
    size = sum(path.stat().st_size for path in made.path.rglob("*") if path.is_file())
    assert estimated_bytes([3]) == pytest.approx(size, rel=0.35)
    assert estimated_bytes([3], land_only=True) < estimated_bytes([3]) / 2


def test_segments_are_within_what_the_disk_is_asked_for(tmp_path):
    seen = []

    def largest(done, total):  # nothing is put together yet
        files = (tmp_path / "atlas.partial" / "res=3" / "segments").iterdir()
        seen.append(sum(path.stat().st_size for path in files))

    build(tmp_path / "atlas", make_encoder(L=10, capacity=64, dim=256), res=3, progress=largest)
    assert _segment_bytes([3], land_only=False, dim=256) == pytest.approx(seen[-1], rel=0.2)


def test_an_atlas_that_was_being_replaced_when_the_builder_died_is_put_back(encoder_file, tmp_path):
    made = si.build_atlas(tmp_path / "atlas", encoder=encoder_file, res=0, device="cpu")
    made.path.rename(tmp_path / ".atlas.replaced")  # where --force leaves it for a moment
    with pytest.raises(AtlasExistsError, match="--force"):
        si.build_atlas(tmp_path / "atlas", encoder=encoder_file, res=1, device="cpu")
    assert si.open_atlas(tmp_path / "atlas").resolutions == [0]
    assert not (tmp_path / ".atlas.replaced").exists()


def test_a_link_to_an_atlas_stays_a_link_when_it_is_replaced(encoder_file, tmp_path):
    si.build_atlas(tmp_path / "data" / "real", encoder=encoder_file, res=0, device="cpu")
    (tmp_path / "link").symlink_to(tmp_path / "data" / "real")
    si.build_atlas(tmp_path / "link", encoder=encoder_file, res=1, device="cpu", force=True)
    assert (tmp_path / "link").is_symlink()
    assert si.open_atlas(tmp_path / "data" / "real").resolutions == [1]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["real"]
