"""The columns that are added to a table: of each row's place, what an atlas or an encoder knows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..geo.cell_polygons import cell_polygons
from ..search.principal_components import Components
from ..storage.geoparquet import arrow_array, wkb_points
from .row_locations import Located

if TYPE_CHECKING:
    import pyarrow as pa

Vectors = NDArray[np.float32]
Embed = Callable[[Located], tuple[NDArray[Any], Vectors | None]]
"""Of places, their embeddings, (m, dim) in half precision or float32, and the lengths divided out, (m,) or None."""

EMBEDDINGS = ("list", "columns", "none")
GEOMETRIES = ("point", "polygon", "none")
_PREFIX = "satclip_"
_ROWS_AT_ONCE = 8192  # whose embeddings are in float64 at a time


@dataclass(frozen=True)
class Added:
    """Which columns to add, and what they are made of.

    Attributes
    ----------
    embed : function
        The embeddings of places.
    dim : int
        Their width.
    cell : bool
        Whether to add the cell.
    norm : bool
        Whether to add the length of the raw embedding.
    embedding : {"list", "columns", "none"}
        The embedding as one column, as one for each dimension, or not at all.
    components : Components, optional
        Principal components, and of them the first ``count`` to be added.
    count : int
    queries : (q, dim) float32
        Vectors to add the similarity to.
    halves : bool
        Whether half precision holds the embeddings exactly.
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

    def columns(self, places: Located, geometry: str, *, halves: bool = False) -> "dict[str, pa.Array]":
        """Return the columns of some places, m values each, under our own names; a list in half precision if asked."""
        import pyarrow as pa

        found: dict[str, pa.Array] = {"cell": arrow_array(places.cell)} if self.cell else {}
        if self.norm or self.embedding != "none" or self.components is not None or len(self.queries):
            nothing = np.empty((0, self.dim), np.float32), np.empty(0, np.float32)
            vectors, norm = self.embed(places) if places.lon.size else nothing
            similarities = self._similarities(vectors).T
            for i, similarity in enumerate(similarities, 1):
                found[f"similarity_{i}" if len(similarities) > 1 else "similarity"] = arrow_array(similarity)
            if self.embedding == "list":
                starts = arrow_array(np.arange(len(vectors) + 1, dtype=np.int32) * np.int32(self.dim))
                values = vectors.astype(np.float16 if halves else np.float32, copy=False)
                found["embedding"] = pa.ListArray.from_arrays(starts, arrow_array(values.ravel()))
            elif self.embedding == "columns":
                found |= _each(
                    "embedding", vectors.astype(np.float32, copy=False), first=0, digits=len(str(self.dim - 1))
                )
            if self.norm and norm is not None:
                found["norm"] = arrow_array(norm)
            if self.components is not None:
                projected = self.components.project(vectors.astype(np.float32, copy=False), self.count)
                found |= _each("pc", projected, first=1, digits=max(2, len(str(self.count))))
        if geometry == "point":
            found["geometry"] = wkb_points(places.lon, places.lat)
        elif geometry == "polygon":
            found["geometry"] = cell_polygons(places.cell)
        return found

    def _similarities(self, vectors: NDArray[Any]) -> Vectors:
        """Return inner products with the queries, (m, q), summed in float64."""
        queries, found = self.queries.astype(np.float64).T, np.empty((len(vectors), len(self.queries)), np.float32)
        for start in range(0, len(vectors) if len(self.queries) else 0, _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            found[rows] = vectors[rows].astype(np.float64) @ queries
        return found


def names_beside(names: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """Return what our columns are called beside others: one whose name is taken, in any case, gets a prefix."""
    used = {name.lower() for name in taken}
    given = {}
    for name in names:
        free = name
        while free.lower() in used:
            free = f"{_PREFIX}{free}"
        used.add(free.lower())
        given[name] = free
    return given


def check_geometry(geometry: str | None, *, cells: bool) -> str | None:
    """Return which geometry to add, or raise QueryError; None is for the format to choose."""
    if geometry is not None:
        _check("geometry", geometry, GEOMETRIES)
    if geometry == "polygon" and not cells:
        raise QueryError("geometry is 'polygon', which is the boundary of a cell; expected point or none.")
    return geometry


def _each(name: str, values: Vectors, *, first: int, digits: int) -> "dict[str, pa.Array]":
    columns = np.ascontiguousarray(values.T)
    return {f"{name}_{i:0{digits}}": arrow_array(column) for i, column in enumerate(columns, first)}


def _check(name: str, value: str, expected: tuple[str, ...]) -> None:
    if value not in expected:
        raise QueryError(f"{name} is {value!r}; expected {', '.join(expected)}.")
