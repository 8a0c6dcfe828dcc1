from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from satclip_index.encoder.deterministic import eigen_decomposition, gram_matrix, single_threaded

from ..oracles import make_encoder


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_inner_products_and_eigenvectors_are_those_of_numpy():
    vectors = np.random.default_rng(0).random((5, 40))
    products = gram_matrix(vectors)
    np.testing.assert_allclose(products, vectors @ vectors.T, rtol=1e-13)
    values, columns = eigen_decomposition(products)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(products), rtol=1e-10)
    np.testing.assert_allclose(products @ columns, columns * values, atol=1e-10)


def test_torch_has_one_thread_until_the_last_who_asked_is_done(three_threads):
    with single_threaded() as outer:
        with single_threaded() as inner:
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert (outer, inner, torch.get_num_threads()) == (3, 3, 3)


def test_encoding_in_many_threads_at_once_leaves_torch_as_it_was(three_threads):
    encoder, rng = make_encoder(), np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 3000), rng.uniform(-90, 90, 3000)
    expected = encoder.encode(lon, lat)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda _: encoder.encode(lon, lat), range(40)):
            np.testing.assert_array_equal(found, expected)
    assert torch.get_num_threads() == 3
