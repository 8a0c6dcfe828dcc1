"""Principal components of an atlas's embeddings: a few numbers that say most of what the vectors do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..checks import check_whole_number
from ..errors import CorruptAtlasError
from ..storage.tensor_files import map_tensors, write_tensors
from .index import Index

COMPONENTS_NAME = "components.safetensors"
_MOST_CELLS = 50_000  # what the components are fitted on
_SHARES_TOLD = 16
_ROWS_AT_ONCE = 1024  # far from each other: with what the system maps around each, 64 MB


@dataclass(frozen=True, slots=True)
class Components:
    """Directions in which embeddings vary, the one of greatest variance first.

    Attributes
    ----------
    mean : (dim,) float32
        Of the embeddings that they were fitted on.
    components : (dim, dim) float32
        One direction a row, of unit length; its entry of greatest magnitude is positive.
    variance : (dim,) float32
        Of those embeddings along each.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variance: NDArray[np.float32]

    @classmethod
    def fit(cls, embedding: NDArray[np.float32]) -> Self:
        """Return the components of embeddings, (n, dim); n at least 1; the same bits on any number of threads."""
        from ..encoder.deterministic import eigen_decomposition, gram_matrix

        vectors = embedding.astype(np.float64)
        mean = vectors.mean(axis=0)
        vectors -= mean
        variance, directions = eigen_decomposition(gram_matrix(vectors.T) / max(1, len(vectors) - 1))
        variance, directions = np.maximum(variance[::-1], 0), directions.T[::-1]
        largest = np.abs(directions).argmax(axis=1)
        directions *= np.sign(directions[np.arange(largest.size), largest])[:, None]
        return cls(*(np.ascontiguousarray(values, dtype=np.float32) for values in (mean, directions, variance)))

    @classmethod
    def open(cls, root: Path, dim: int) -> Self:
        """Return the components of the atlas at ``root``, or raise CorruptAtlasError."""
        path = root / COMPONENTS_NAME
        tensors = map_tensors(path)
        expected = {"mean": (dim,), "components": (dim, dim), "variance": (dim,)}
        if {name: tensor.shape for name, tensor in tensors.items()} != expected:
            raise CorruptAtlasError(f"{path} does not hold the components of {dim} dimensions. Build the atlas again.")
        return cls(**tensors)

    def write(self, root: Path) -> None:
        """Write them into the folder of an atlas."""
        tensors = {"mean": self.mean, "components": self.components, "variance": self.variance}
        write_tensors(root / COMPONENTS_NAME, tensors)

    def project(self, embedding: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Return the coordinates of embeddings along the first components.

        Parameters
        ----------
        embedding : (n, dim) float32
            Unit vectors.
        count : int
            How many components: 1 to dim.

        Returns
        -------
        (n, count) float32

        Raises
        ------
        QueryError
            If there are not so many components.
        """
        first = self.components[: check_count(count, self.mean.size)]
        projected: NDArray[np.float32] = embedding @ first.T - first @ self.mean
        return projected

    def shares(self) -> list[float]:
        """Return the share of all variance that each of the first components has."""
        return [round(float(share), 6) for share in self.variance[:_SHARES_TOLD] / max(self.variance.sum(), 1e-30)]


def check_count(count: int, dim: int) -> int:
    """Return ``count``, or raise QueryError if there are not so many components."""
    return check_whole_number("components", count, high=dim)


def write_components(root: Path, index: Index) -> dict[str, Any]:
    """Fit components on a resolution of an atlas, write them into its folder and return what the manifest says.

    They are fitted on its land cells, or on all where none is land: on 50,000 at most, evenly spaced.
    """
    land = np.flatnonzero(index.tree.rows.land)
    rows = land if land.size else np.arange(len(index))
    picked = rows[np.linspace(0, rows.size - 1, min(rows.size, _MOST_CELLS)).astype(np.int64)]
    vectors = np.empty((picked.size, index.vectors.dim), np.float32)
    for start in range(0, picked.size, _ROWS_AT_ONCE):
        vectors[start : start + _ROWS_AT_ONCE] = index.vectors.of_rows(picked[start : start + _ROWS_AT_ONCE])
        index.vectors.let_go()
    fitted = Components.fit(vectors)
    fitted.write(root)
    on = "land cells" if land.size else "cells"
    return {"res": index.res, "fitted_on": on, "cells": int(picked.size), "variance_shares": fitted.shares()}
