"""Builds that are killed, at any moment and in any way, go on to the bytes of one that was not."""

import random
import signal
import subprocess

import pytest

import satclip_index as si
from satclip_index.errors import SatclipIndexError

from ..oracles import make_encoder
from .test_build import build, digests


def counted(builders, path, **options):
    """Return the files of an undisturbed build, and how often it opens, renames, makes or removes one."""
    count = path.with_name("count")
    assert builders.run(path.with_name("first"), **options) == 0  # the search may have to be compiled
    assert builders.run(path, count=str(count), **options) == 0
    return digests(path), int(count.read_text())


def check_kills(builders, folder, res, *, moments, signals, land_only=False, force=False):
    """Kill a build at random moments; what opens then is whole, and going on gives the same bytes."""
    rng = random.Random(0)
    expected, uses = counted(builders, folder / "whole", res=res, land_only=land_only, workers=2)
    killed = 0
    for moment in range(moments):
        here = folder / str(moment)
        path = here / "atlas"
        here.mkdir()
        old = digests(build(path, make_encoder(9), res=0).path) if force else None
        for attempt in range(2):  # that which goes on may be killed too
            how, at = signals[moment % len(signals)], rng.randint(1, uses if not attempt else uses // 2)
            late_s = rng.uniform(0, 0.02) if moment % 2 else 0  # amid what writes without Python
            code = builders.run(
                path, res=res, land_only=land_only, force=force, resume=True, workers=2, kill=how, at=at, late_s=late_s
            )
            assert code in (0, 2, -how), code
            killed += code != 0
            for found in here.iterdir():
                if found == path:
                    assert without_journal(digests(found)) in (old, expected)
                elif found.name == ".atlas.replaced":
                    continue  # the old atlas, under a name that no reader opens until the next build removes it
                elif found.name != "atlas.partial" or not (found / "manifest.json").exists():
                    with pytest.raises(SatclipIndexError):
                        si.open_atlas(found)
        assert builders.run(path, res=res, land_only=land_only, force=force, resume=True) == 0
        assert digests(path) == expected, (moment, how)
        assert [entry.name for entry in here.iterdir()] == ["atlas"]
    assert killed >= moments / 2


def without_journal(files):
    """Leave out what a builder that is killed just after the end has not removed yet."""
    return {name: digest for name, digest in files.items() if name != "journal.jsonl"}


SIGNALS = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM]


def test_a_build_killed_at_any_moment_goes_on_to_the_same_bytes(builders, tmp_path):
    check_kills(builders, tmp_path, [0, 1, 2], moments=6, signals=SIGNALS)


def test_a_replacement_killed_at_any_moment_goes_on_and_leaves_the_old_or_the_new(builders, tmp_path):
    check_kills(builders, tmp_path, [1, 2], moments=4, signals=SIGNALS[:1], force=True)


@pytest.mark.slow
@pytest.mark.parametrize("land_only", [False, True])
@pytest.mark.parametrize("signals", [SIGNALS[:1], SIGNALS[1:]])
def test_builds_killed_at_twenty_moments_go_on_to_the_same_bytes(builders, tmp_path, land_only, signals):
    check_kills(builders, tmp_path, [0, 2, 4], moments=20, signals=signals, land_only=land_only)


def test_a_build_on_a_full_disk_goes_on_once_there_is_room(builders, tmp_path):
    """As far as files may not grow beyond a limit; the largest of res 3 has 5 MB."""
    whole, path = tmp_path / "whole", tmp_path / "here" / "atlas"
    assert builders.run(whole, res=[0, 1, 2, 3]) == 0
    for limit in (100_000, 500_000, 1_100_000, 1_500_000, 3_000_000):
        assert builders.run(path, res=[0, 1, 2, 3], limit=limit, resume=True) == 28
        assert [entry.name for entry in path.parent.iterdir()] == ["atlas.partial"]
    assert builders.run(path, res=[0, 1, 2, 3], resume=True) == 0
    assert digests(path) == digests(whole)


@pytest.mark.slow
def test_a_build_on_a_small_file_system_goes_on_once_it_is_larger(builders, tmp_path):
    disk, whole = tmp_path / "disk", tmp_path / "whole"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert builders.run(whole, res=[0, 4]) == 0
        (disk / "ballast").write_bytes(bytes(1_000_000))
        assert builders.run(disk / "atlas", res=[0, 4]) in (2, 28)
        subprocess.run(["mount", "-o", "remount,size=900m", str(disk)], check=True)
        assert builders.run(disk / "atlas", res=[0, 4], resume=True) == 0
        assert digests(disk / "atlas") == digests(whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
