"""The columns that a join adds to a table: cell, embedding, similarities, components and geometry of each row."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..geo.cell_polygons import cell_polygons
from ..search.principal_components import Components
from ..storage.geoparquet import arrow_array, wkb_points
from .row_locations import RowLocations

if TYPE_CHECKING:
    import pyarrow as pa

Vectors = NDArray[np.float32]
Embed = Callable[[RowLocations], tuple[NDArray[Any], Vectors | None]]
"""Of locations, the embeddings, (m, dim) float16 or float32, and the norms before normalization, (m,) or None."""

EMBEDDINGS = ("list", "columns", "none")
GEOMETRIES = ("point", "polygon", "none")
_PREFIX = "satclip_"
_ROWS_AT_ONCE = 8192  # bounds the memory of their float64 copies


@dataclass(frozen=True)
class JoinColumns:
    """The columns to add to a table.

    Attributes
    ----------
    embed : function
        Returns the embeddings of locations.
    dim : int
        Width of an embedding.
    cell : bool
        Add the cell.
    norm : bool
        Add the norm of the raw embedding.
    embedding : {"list", "columns", "none"}
        Add the embedding as one list column, as one column per dimension, or not at all.
    components : Components, optional
        Add the first ``count`` of these principal components.
    count : int
    queries : (q, dim) float32
        Add the similarity to each of these vectors.
    halves : bool
        Whether half precision represents the embeddings exactly.
    """

    embed: Embed
    dim: int
    cell: bool = True
    norm: bool = False
    embedding: str = "list"
    components: Components | None = None
    count: int = 0
    queries: Vectors = field(default_factory=lambda: np.empty((0, 0), np.float32))
    halves: bool = True

    def __post_init__(self) -> None:
        _check("embedding", self.embedding, EMBEDDINGS)

    def columns(self, places: RowLocations, geometry: str, *, halves: bool = False) -> "dict[str, pa.Array]":
        """Return the columns of some locations, (m,) each, by name; ``halves`` stores a list in half precision."""
        import pyarrow as pa

        columns: dict[str, pa.Array] = {"cell": arrow_array(places.cell)} if self.cell else {}
        if self.norm or self.embedding != "none" or self.components is not None or len(self.queries):
            empty = np.empty((0, self.dim), np.float32), np.empty(0, np.float32)
            vectors, norm = self.embed(places) if places.lon.size else empty
            similarities = self._similarities(vectors).T
            for i, similarity in enumerate(similarities, 1):
                columns[f"similarity_{i}" if len(similarities) > 1 else "similarity"] = arrow_array(similarity)
            if self.embedding == "list":
                starts = arrow_array(np.arange(len(vectors) + 1, dtype=np.int32) * np.int32(self.dim))
                values = vectors.astype(np.float16 if halves else np.float32, copy=False)
                columns["embedding"] = pa.ListArray.from_arrays(starts, arrow_array(values.ravel()))
            elif self.embedding == "columns":
                columns |= _numbered_columns(
                    "embedding", vectors.astype(np.float32, copy=False), first=0, digits=len(str(self.dim - 1))
                )
            if self.norm and norm is not None:
                columns["norm"] = arrow_array(norm)
            if self.components is not None:
                projected = self.components.project(vectors.astype(np.float32, copy=False), self.count)
                columns |= _numbered_columns("pc", projected, first=1, digits=max(2, len(str(self.count))))
        if geometry == "point":
            columns["geometry"] = wkb_points(places.lon, places.lat)
        elif geometry == "polygon":
            columns["geometry"] = cell_polygons(places.cell)
        return columns

    def _similarities(self, vectors: NDArray[Any]) -> Vectors:
        """Return inner products with the queries, (m, q), summed in float64."""
        queries, products = self.queries.astype(np.float64).T, np.empty((len(vectors), len(self.queries)), np.float32)
        for start in range(0, len(vectors) if len(self.queries) else 0, _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            products[rows] = vectors[rows].astype(np.float64) @ queries
        return products


def names_beside(names: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Return the names of added columns beside others: a name that is taken, ignoring case, gets a prefix."""
    used = {name.lower() for name in taken}
    renamed = {}
    for name in names:
        unused = name
        while unused.lower() in used:
            unused = f"{_PREFIX}{unused}"
        used.add(unused.lower())
        renamed[name] = unused
    return renamed


def check_geometry(geometry: str | None, *, cells: bool) -> str | None:
    """Return the geometry to add, or raise QueryError; None lets the output format decide."""
    if geometry is not None:
        _check("geometry", geometry, GEOMETRIES)
    if geometry == "polygon" and not cells:
        raise QueryError("geometry is 'polygon', which is the boundary of a cell; expected point or none.")
    return geometry


def _numbered_columns(name: str, values: Vectors, *, first: int, digits: int) -> "dict[str, pa.Array]":
    transposed = np.ascontiguousarray(values.T)
    return {f"{name}_{i:0{digits}}": arrow_array(column) for i, column in enumerate(transposed, first)}


def _check(name: str, value: str, expected: tuple[str, ...]) -> None:
    if value not in expected:
        raise QueryError(f"{name} is {value!r}; expected {', '.join(expected)}.")
