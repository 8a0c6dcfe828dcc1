import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from satclip_index.errors import CorruptAtlasError
from satclip_index.storage.tensor_files import StreamedTensor, TensorFile, map_tensors, write_tensors

rng = np.random.default_rng(0)
TENSORS = {
    "bytes": rng.integers(0, 255, 3, np.uint8),
    "halves": rng.random((5, 3)).astype(np.float16),
    "floats": rng.random((2, 2, 2)).astype(np.float32),
    "none": np.empty((0, 4), np.float64),
    "zulu": rng.random(3),
    "alpha": rng.random(1),
    "rows": np.arange(4),
    "cells": np.arange(4, dtype=np.uint64),
}


@pytest.fixture
def path(tmp_path):
    write_tensors(tmp_path / "ours", TENSORS)
    return tmp_path / "ours"


def test_tensors_are_written_byte_for_byte_as_the_library_does(path, tmp_path):
    save_file(TENSORS, tmp_path / "theirs")
    assert path.read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_tensor_in_parts_is_the_tensor(path, tmp_path):
    parts = [TENSORS["halves"][:2], TENSORS["halves"][2:]]
    streamed = StreamedTensor(np.dtype(np.float16), (5, 3), iter(parts))
    write_tensors(tmp_path / "parts", TENSORS | {"halves": streamed})
    assert path.read_bytes() == (tmp_path / "parts").read_bytes()


def test_tensors_come_back_mapped_and_read(path):
    read, mapped = TensorFile(path), map_tensors(path)
    for name, expected in load_file(path).items():
        assert read.shape(name) == expected.shape
        for found in (read.read(name), mapped[name]):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_others_may_read_the_file_as_any_other(path, tmp_path):
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("keep", [0, 5, 100, -8])
def test_a_file_cut_short_is_refused(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptAtlasError, match="ours"):
        map_tensors(path)
    with pytest.raises(CorruptAtlasError, match="ours"):
        TensorFile(path).read("bytes")
