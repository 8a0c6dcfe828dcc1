"""Many readers of one atlas, and readers of one that is being replaced."""

import concurrent.futures
import contextlib
import os
import sys
import threading
from subprocess import PIPE

import numpy as np
import pytest

import satclip_index as si
from satclip_index.errors import CorruptAtlasError

from ..conftest import child_environment
from ..oracles import make_encoder
from ..processes import started
from .test_build import build

PLACES = [(36.8, -1.3), (-70.5, -33.4), (139.7, 35.7), (2.35, 48.86), (179.99, -16.5), (0.0, 89.9), (-60.0, -3.0)]
READER = """
import hashlib, os, sys
import satclip_index as si
places = eval(sys.argv[2])
os.read(0, 1)  # all at once
digest = hashlib.sha256()
atlas = si.open_atlas(sys.argv[1])
for place in places:
    found = atlas.like(place, k=20)
    digest.update(found.cell.tobytes() + found.similarity.tobytes())
print(digest.hexdigest())
"""


def answers(atlas, places=PLACES):
    found = [atlas.like(place, k=20) for place in places]
    return [(one.cell.tobytes(), one.similarity.tobytes()) for one in found]


def ask_in_threads(atlas, count):
    """Ask in as many threads, half of them with an atlas of their own, in orders of their own."""

    def ask(number):
        mine = atlas if number % 2 else si.open_atlas(atlas.path)
        order = np.random.default_rng(number).permutation(len(PLACES))
        found = answers(mine, [PLACES[i] for i in order])
        return [found[i] for i in np.argsort(order)]

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(ask, range(count)))


def ask_in_processes(atlas, count):
    command = [sys.executable, "-c", READER, atlas.path, repr(PLACES)]
    with contextlib.ExitStack() as stack:
        one = lambda: started(command, stdin=PIPE, stdout=PIPE, env=child_environment())  # noqa: E731
        readers = [stack.enter_context(one()) for _ in range(count)]
        for reader in readers:
            os.write(reader.stdin.fileno(), b"x")
        return [reader.communicate()[0] for reader in readers]


@pytest.mark.parametrize("count", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_readers_in_threads_get_the_answers_of_one_alone(atlas, count):
    expected = answers(si.open_atlas(atlas.path))
    fresh = si.open_atlas(atlas.path)  # nothing of it is opened yet: they open it together
    for found in ask_in_threads(fresh, count):
        assert found == expected


@pytest.mark.parametrize("count", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_readers_in_processes_get_the_same_answers(atlas, count):
    found = ask_in_processes(atlas, count)
    assert len(set(found)) == 1
    assert len(found[0]) == 65


def test_what_a_reader_opens_is_mapped_and_not_copied(atlas):
    index = si.open_atlas(atlas.path).index(2)
    for values in (index.vectors.codes, index.tree.nodes.centroid, index.tree.rows.cell):
        while isinstance(values, np.ndarray) and not isinstance(values, np.memmap):
            values = values.base
        assert isinstance(values, np.memmap) or values.__class__.__name__ == "mmap"


def test_a_reader_finishes_on_the_atlas_that_it_opened(tmp_path, encoder):
    reader = build(tmp_path / "atlas", encoder, res=[1, 2])
    before = answers(reader)
    build(tmp_path / "atlas", make_encoder(9), res=[1, 2], force=True)
    assert answers(reader) == before
    assert answers(si.open_atlas(tmp_path / "atlas")) != before


def test_a_reader_never_mixes_the_old_atlas_with_the_new(tmp_path, encoder):
    reader = build(tmp_path / "atlas", encoder, res=[1, 2])
    reader.index(2)
    build(tmp_path / "atlas", make_encoder(9), res=[1, 2], force=True)
    for late in (
        lambda: reader.index(1),
        lambda: reader.encoder,
        lambda: reader.components,
        lambda: reader.cells(2),
        lambda: reader.like(PLACES[0], res=1),
    ):
        with pytest.raises(CorruptAtlasError, match="Open it again"):
            late()


def test_there_is_an_atlas_all_the_time_while_it_is_replaced(tmp_path, encoder):
    """By readers who open it as often as they can."""
    path = build(tmp_path / "atlas", encoder, res=0).path
    both = {encoder.sha256, make_encoder(9).sha256}
    stop, seen = [], []

    def read():
        while not stop:
            seen.append(si.open_atlas(path).manifest.encoder["sha256"])

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for seed in (9, 0, 9, 0, 9):
            build(path, make_encoder(seed), res=0, force=True)
        stop.append(True)
        for reader in readers:
            reader.result()
    assert set(seen) == both


def test_the_same_atlas_built_again_is_no_other(tmp_path, encoder):
    reader = build(tmp_path / "atlas", encoder, res=[1, 2])
    build(tmp_path / "atlas", encoder, res=[1, 2], force=True)
    assert answers(reader) == answers(si.open_atlas(tmp_path / "atlas"))


def test_threads_that_come_at_once_get_the_same_index(atlas):
    opened, barrier = si.open_atlas(atlas.path), threading.Barrier(8)

    def index(_):
        barrier.wait()
        return opened.index(2)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert len({id(index) for index in pool.map(index, range(8))}) == 1
