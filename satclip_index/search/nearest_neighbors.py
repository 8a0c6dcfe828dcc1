"""The nearest neighbors of many cells at once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..concurrency import in_order
from ..errors import QueryError
from ..geo import grid, sphere
from ..progress import Progress
from . import faiss_index
from .embedding_source import EmbeddingSource
from .search_rules import SearchRules
from .tree import run_starts

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 512  # queries per thread at a time
_GPU_CHUNK = 1 << 14  # queries per copy of all rows to the GPU
GROUP_ABOVE = 1  # cells of one parent, at most seven, are searched together; larger groups measured slower


@dataclass(frozen=True, slots=True)
class Nearest:
    """The most similar cells of many cells.

    Attributes
    ----------
    cell : (n,) uint64
        The query cells, in the order given.
    neighbor : (n, k) uint64
        Their neighbors, the most similar first, ties by cell; 0 where fewer than k qualify.
    similarity : (n, k) float32
        Inner products of stored vectors, in [-1, 1]; NaN where fewer qualify.
    exact : bool
        Whether this is the result of comparing every pair.
    method : str
        How the neighbors were found.
    """

    cell: grid.Cells
    neighbor: grid.Cells
    similarity: NDArray[np.float32]
    exact: bool
    method: str

    def __len__(self) -> int:
        return int(self.cell.size)

    def to_arrow(self) -> "pa.Table":
        """Return an Arrow table with a row for each pair: cell, rank (from 1), neighbor, similarity."""
        import pyarrow as pa

        found = self.neighbor != 0
        rank = np.broadcast_to(np.arange(1, self.neighbor.shape[1] + 1), found.shape)
        cell = np.broadcast_to(self.cell[:, None], found.shape)
        columns = {
            "cell": cell[found],
            "rank": rank[found],
            "neighbor": self.neighbor[found],
            "similarity": self.similarity[found],
        }
        return pa.table(columns)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Export the pairs to any library that takes Arrow, as ``polars.DataFrame(nearest)`` does."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)


def nearest_cells(
    atlas: EmbeddingSource,
    cells: grid.Cells,
    res: int,
    rules: SearchRules,
    *,
    progress: Progress | None = None,
) -> Nearest:
    """Return the cells of a resolution that are most similar to each of many cells.

    Parameters
    ----------
    atlas : EmbeddingSource
    cells : (n,) uint64
        Cells of one resolution.
    res : int
        That resolution, one of the atlas.
    rules : SearchRules
        ``k``, which is required; ``exclude_within_km``, the minimum distance between a cell and its neighbors (at 0,
        the nearest neighbor of a cell is itself); ``area`` and ``ocean``. Other rules cannot be set.
    progress : function of (done, total), optional
    """
    assert rules.k is not None
    index, k = atlas.index(res), rules.k
    where, away_rad = rules.to_filter(index), rules.exclude_within_km / sphere.EARTH_RADIUS_KM
    unrestricted = not where.land_only and where.ranges is None and away_rad == 0
    search = faiss_index.gpu_search(index, k) if unrestricted else None
    method = "tree" if search is None else "FAISS on the GPU, verified and re-ranked"
    order = np.argsort(cells, kind="stable")
    rows = np.empty((cells.size, k), dtype=np.int64)
    similarity = np.empty((cells.size, k), dtype=np.float32)

    def search_chunk(chunk: NDArray[np.int64]) -> int:
        queries = atlas.vectors_of(cells[chunk])
        if search is not None:
            rows[chunk], similarity[chunk] = search(queries)
            return int(chunk.size)
        start = run_starts(grid.ancestors(cells[chunk], max(0, index.res - GROUP_ABOVE)))
        points = sphere.unit_vectors(*grid.cell_centers(cells[chunk]))
        rows[chunk], similarity[chunk] = index.engine.nearest(
            queries, start, k, where, points=points, away_rad=away_rad
        )
        return int(chunk.size)

    done, chunk_size = 0, _CHUNK if search is None else _GPU_CHUNK
    chunks = np.array_split(order, max(1, -(-order.size // chunk_size)))
    for size in in_order(search_chunk, chunks, workers=1 if search is not None else None):
        done += size
        if progress:
            progress(done, cells.size)
    neighbor = np.where(rows >= 0, index.cells[np.maximum(rows, 0)], np.uint64(0))
    return Nearest(cells, neighbor, similarity, exact=True, method=method)


def check_cells_of(cells: object, res: int) -> grid.Cells:
    """Return cells of one resolution, (n,) uint64, from integers or hexadecimal text; QueryError if not of it."""
    given = np.atleast_1d(np.asarray(cells))
    if given.dtype.kind in "UO" and given.size and isinstance(given[0], str):
        given = np.array([grid.text_to_cell(str(text)) for text in given], dtype=np.uint64)
    checked = grid.check_cells(given)
    wrong = np.flatnonzero(grid.cell_res(checked) != res)
    if wrong.size:
        raise QueryError(
            f"{wrong.size} of {checked.size} cells are not of resolution {res}; first is "
            f"{grid.cell_to_text(checked[wrong[0]])} at row {wrong[0]}. Give cells of one resolution, and res."
        )
    return checked
