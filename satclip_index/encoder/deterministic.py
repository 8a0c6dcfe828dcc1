"""Linear algebra whose last bits do not depend on the number of threads: NumPy's does, so torch's on one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray


class _Threads:
    """The number of threads that torch has, which is one for the whole process, and who wants it to be 1."""

    def __init__(self) -> None:
        self._lock, self._wanted_by, self._before = Lock(), 0, 1

    def take(self) -> int:
        with self._lock:
            if not self._wanted_by:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._wanted_by += 1
            return self._before

    def give_back(self) -> None:
        with self._lock:
            self._wanted_by -= 1
            if not self._wanted_by:
                torch.set_num_threads(self._before)


_THREADS = _Threads()


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Let torch use one thread for each that calls it, until the last who asked is done, and yield how many it had."""
    threads = _THREADS.take()
    try:
        yield threads
    finally:
        _THREADS.give_back()


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
