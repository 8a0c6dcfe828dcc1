"""The principal components of an atlas's embeddings."""

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
_MOST_CELLS = 50_000  # that components are fitted on
_LISTED_SHARES = 16
_ROWS_AT_ONCE = 1024  # scattered rows: with the pages that the system reads ahead, 64 MB


@dataclass(frozen=True, slots=True)
class Components:
    """The principal components of embeddings, in order of decreasing variance.

    Attributes
    ----------
    mean : (dim,) float32
        Mean of the embeddings that were fitted.
    components : (dim, dim) float32
        One component per row, a unit vector whose entry of greatest magnitude is positive.
    variance : (dim,) float32
        Variance of these embeddings along each component.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    variance: NDArray[np.float32]

    @classmethod
    def fit(cls, embedding: NDArray[np.float32]) -> Self:
        """Return the components of embeddings, (n, dim), n at least 1; bits do not depend on the number of threads."""
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
        """Return the components of the atlas in a folder, or raise CorruptAtlasError."""
        path = root / COMPONENTS_NAME
        tensors = map_tensors(path)
        expected = {"mean": (dim,), "components": (dim, dim), "variance": (dim,)}
        if {name: tensor.shape for name, tensor in tensors.items()} != expected:
            raise CorruptAtlasError(f"{path} does not hold the components of {dim} dimensions. Build the atlas again.")
        return cls(**tensors)

    def write(self, root: Path) -> None:
        """Write the components into the folder of an atlas."""
        tensors = {"mean": self.mean, "components": self.components, "variance": self.variance}
        write_tensors(root / COMPONENTS_NAME, tensors)

    def project(self, embedding: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Return the coordinates of embeddings along the first components.

        Parameters
        ----------
        embedding : (n, dim) float32
            Unit vectors.
        count : int
            Number of components, from 1 to dim.

        Returns
        -------
        (n, count) float32

        Raises
        ------
        QueryError
            If ``count`` is out of range.
        """
        first = self.components[: check_count(count, self.mean.size)]
        projected: NDArray[np.float32] = embedding @ first.T - first @ self.mean
        return projected

    def shares(self) -> list[float]:
        """Return the share of the total variance of each of the first components."""
        return [round(float(share), 6) for share in self.variance[:_LISTED_SHARES] / max(self.variance.sum(), 1e-30)]


def check_count(count: int, dim: int) -> int:
    """Return ``count``, or raise QueryError if it is not between 1 and ``dim``."""
    return check_whole_number("components", count, high=dim)


def write_components(root: Path, index: Index) -> dict[str, Any]:
    """Fit components on a resolution of an atlas, write them into its folder, and return their manifest entry.

    They are fitted on land cells, or on all cells if none are on land: on 50,000 at most, evenly spaced.
    """
    land = np.flatnonzero(index.tree.rows.land)
    rows = land if land.size else np.arange(len(index))
    picked = rows[np.linspace(0, rows.size - 1, min(rows.size, _MOST_CELLS)).astype(np.int64)]
    vectors = np.empty((picked.size, index.vectors.dim), np.float32)
    for start in range(0, picked.size, _ROWS_AT_ONCE):
        vectors[start : start + _ROWS_AT_ONCE] = index.vectors.of_rows(picked[start : start + _ROWS_AT_ONCE])
        index.vectors.release_pages()
    fitted = Components.fit(vectors)
    fitted.write(root)
    on = "land cells" if land.size else "cells"
    return {"res": index.res, "fitted_on": on, "cells": int(picked.size), "variance_shares": fitted.shares()}
