"""The inner loops of building a tree, compiled by numba when first used and cached on disk."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def sums(vectors, start):
    """Return the sum of each run of vectors, (m, dim) float64; run i is rows ``start[i] .. start[i + 1] - 1``."""
    out = np.zeros((start.size - 1, vectors.shape[1]))
    for run in range(start.size - 1):
        total = out[run]
        for row in range(start[run], start[run + 1]):
            vector = vectors[row]
            for i in range(vector.size):
                total[i] += vector[i]
    return out


@njit(cache=True, fastmath={"reassoc", "contract"})
def _dot(a, b):
    total = 0.0
    for i in range(a.size):
        total += np.float64(a[i]) * b[i]
    return total


@njit(cache=True, nogil=True)
def lengths(vectors):
    """Return the length of each vector, (n,) float64."""
    out = np.empty(vectors.shape[0])
    for row in range(vectors.shape[0]):
        out[row] = np.sqrt(_dot(vectors[row], vectors[row]))
    return out


@njit(cache=True, nogil=True)
def least_cosines(vectors, length, directions, start):
    """Return, for each run, the least cosine between its direction, a unit vector, and one of its vectors."""
    out = np.ones(directions.shape[0])
    for run in range(directions.shape[0]):
        for row in range(start[run], start[run + 1]):
            out[run] = min(out[run], _dot(vectors[row], directions[run]) / length[row])
    return out
