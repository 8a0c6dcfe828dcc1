"""The embedding of a place: that of its cell, or the unit mean over several cells."""

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..geo.places import Place
from .embedding_source import EmbeddingSource

_CELLS_AT_ONCE = 1 << 16  # of an area, summed at a time


def vector_of(atlas: EmbeddingSource, place: Place, res: int) -> NDArray[np.float32]:
    """Return the embedding of a place at a resolution, (dim,) float32: of several cells, their unit mean."""
    cells = place.cells(res)
    if cells.size == 1:
        vector: NDArray[np.float32] = atlas.vectors_of(cells)[0]
        return vector
    parts = np.array_split(cells, -(-cells.size // _CELLS_AT_ONCE))
    total = np.sum([atlas.vectors_of(part).sum(axis=0, dtype=np.float64) for part in parts], axis=0)
    return normalized(total / cells.size, "cells of a place")


def normalized(vector: NDArray[np.float64], what: str) -> NDArray[np.float32]:
    """Return a vector, (dim,), scaled to unit length; if it is zero, raise QueryError, which names ``what`` it sums."""
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise QueryError(f"The {what} cancel each other out; take away one of them.")
    return (vector / length).astype(np.float32)
