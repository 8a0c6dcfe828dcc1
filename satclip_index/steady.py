"""Linear algebra whose last bits do not depend on the number of threads: NumPy's does, so torch's on one thread."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Let torch use one thread for each that calls it, and yield how many it had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def inner_products(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the inner product of each row, (n, dim), with each, (n, n) of the same precision."""
    with one_thread_each():
        values = torch.from_numpy(vectors)
        products: NDArray[np.floating] = (values @ values.T).numpy()
    return products


def eigenvectors(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenvalues of a symmetric matrix, (n,) ascending, and its eigenvectors, (n, n), one a column."""
    with one_thread_each():
        values, vectors = torch.linalg.eigh(torch.from_numpy(matrix))
    return values.numpy(), vectors.numpy()
