import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from satclip_index.encoder._padua import Padua, products


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(array, dtype=np.float64)) for array in arrays]


@pytest.mark.parametrize("degree", [1, 2, 3, 8, 15])
def test_products_are_numpys_chebyshev_polynomials_of_total_degree_at_most_the_degree(degree):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 50))
    found = products(*tensors(x, y), degree).numpy()
    pairs = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    assert found.shape == (len(pairs), 50) == ((degree + 1) * (degree + 2) // 2, 50)
    for row, (i, j) in zip(found, pairs, strict=True):
        expected = chebyshev.chebval(x, np.eye(degree + 1)[i]) * chebyshev.chebval(y, np.eye(degree + 1)[j])
        np.testing.assert_allclose(row, expected, atol=1e-12)  # a recurrence of 15 steps, each by a factor of 2 at most


@pytest.mark.parametrize("degree", [1, 2, 5, 14, 27])
def test_the_fit_is_the_inverse_of_the_products_at_the_points(degree):
    padua = Padua.of(degree)
    matrix = products(padua.x, padua.y, degree).numpy().T
    rounding = 4 * len(matrix) * np.finfo(float).eps * np.linalg.cond(matrix)
    np.testing.assert_allclose(padua.fit.numpy(), np.linalg.inv(matrix), rtol=0, atol=rounding)


@given(degree=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_polynomial_of_the_degree_is_found_again_everywhere_from_its_values_at_the_points(degree, seed):
    rng, padua = np.random.default_rng(seed), Padua.of(degree)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    weights = rng.normal(size=len(powers))

    def polynomial(x, y):
        return sum(weight * x**i * y**j for weight, (i, j) in zip(weights, powers, strict=True))

    coefficients = padua.fit @ polynomial(padua.x, padua.y)
    x, y = tensors(*rng.uniform(-1, 1, (2, 20)))
    np.testing.assert_allclose(products(x, y, degree).T @ coefficients, polynomial(x, y), atol=1e-9)
