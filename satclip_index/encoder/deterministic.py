"""Linear algebra whose last bits do not depend on the number of threads: torch on a single thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray


class _TorchThreads:
    """Limits torch to one thread while any caller needs that; the setting is global to the process."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = Lock(), 0, 1

    def limit(self) -> int:
        with self._lock:
            if not self._users:
                self._before = torch.get_num_threads()
                torch.set_num_threads(1)
            self._users += 1
            return self._before

    def restore(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                torch.set_num_threads(self._before)


_THREADS = _TorchThreads()


@contextmanager
def single_threaded() -> Iterator[int]:
    """Limit torch to one thread per calling thread, until all such contexts are closed; yield the previous number."""
    threads = _THREADS.limit()
    try:
        yield threads
    finally:
        _THREADS.restore()


def gram_matrix(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the inner products of all pairs of rows of (n, dim) vectors, (n, n) in the same precision."""
    with single_threaded():
        values = torch.from_numpy(vectors)
        products: NDArray[np.floating] = (values @ values.T).numpy()
    return products


def eigen_decomposition(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the eigenvalues of a symmetric matrix, (n,) ascending, and its eigenvectors, the columns of (n, n)."""
    with single_threaded():
        values, vectors = torch.linalg.eigh(torch.from_numpy(matrix))
    return values.numpy(), vectors.numpy()
