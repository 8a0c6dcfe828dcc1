import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.errors import CorruptAtlasError
from satclip_index.search.vectors import Vectors

from ..oracles import stored


@pytest.mark.parametrize("res", [1, 2])
def test_vectors_are_those_of_the_parquet_files_row_by_row(atlas, land_atlas, res):
    for made in (atlas, land_atlas):
        expected = stored(made, res)["embedding"]
        vectors = made.index(res).vectors
        assert len(vectors) == expected.shape[0]
        found = vectors.of_rows(np.arange(len(vectors)))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@given(st.lists(st.integers(0, 5881), max_size=30))
def test_rows_come_in_the_order_asked_for(atlas, rows):
    expected = stored_once(atlas)[rows]
    np.testing.assert_array_equal(atlas.index(2).vectors.of_rows(np.array(rows, dtype=np.int64)), expected)


def stored_once(atlas, kept={}):  # noqa: B006 (a cache of one)
    if not kept:
        kept["embedding"] = stored(atlas, 2)["embedding"]
    return kept["embedding"]


def test_codes_hold_a_vector_where_first_code_says(atlas):
    vectors, expected = atlas.index(2).vectors, stored_once(atlas)
    for row in (0, 48, 49, 50, 3000, 5881):
        first = int(vectors.first_code(np.array([row]))[0])
        bits = vectors.codes[first : first + 16]
        np.testing.assert_array_equal(bits.view(np.float16).astype(np.float32), expected[row])


@pytest.mark.parametrize("offset", [0, 10**9, -2])
def test_an_offset_that_cannot_be_is_a_corrupt_atlas(atlas, offset):
    path = atlas.path / "res=2" / "index.faiss"
    with pytest.raises(CorruptAtlasError, match=r"index\.faiss"):
        Vectors(path, offset, atlas.index(2).vectors.start, 16)


def test_a_missing_or_empty_file_is_a_corrupt_atlas(tmp_path):
    (tmp_path / "empty.faiss").touch()
    for name in ("empty.faiss", "missing.faiss"):
        with pytest.raises(CorruptAtlasError, match=name):
            Vectors(tmp_path / name, 0, np.array([0, 1]), 4)
