"""Assemble the index and the tree of a resolution from the segments of its shards."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError
from ..search.engine import Filter
from ..search.index import Index
from ..search.tree import Tree
from ..search.vectors import Vectors
from ..storage.manifest import ResolutionEntry
from ._segments import Segments

_LISTS_ABOVE = 2  # an inverted list is an ancestor this many resolutions coarser: at most 49 rows
_LEVELS = np.concatenate(
    [[0, 0.0001, 0.0005, 0.001, 0.005], np.arange(1, 100) / 100, [0.995, 0.999, 0.9995, 0.9999, 1]]
)
_CHECKED_QUERIES = 3
_COMPARED_RUNS, _RUN = 32, 4096  # number and length of the runs of rows compared; not all rows, to bound memory


def assemble(folder: Path, res: int, segments: Sequence[Path]) -> ResolutionEntry:
    """Write the index and the tree of a resolution into its folder, and return its manifest entry.

    Memory use is that of one segment. The output is deterministic.
    """
    list_res = max(0, res - _LISTS_ABOVE)
    merged = Segments(segments, res, list_res)
    merged.write_tree(folder / "tree.safetensors")
    offset = merged.write_index(folder / "index.faiss")
    tree = Tree.open(folder / "tree.safetensors")
    vectors = Vectors(folder / "index.faiss", offset, tree.starts(list_res), merged.dim)
    _check_search(Index(tree, vectors))
    land_rows = np.flatnonzero(tree.rows.land)
    return ResolutionEntry(
        count=len(merged),
        land_count=land_rows.size,
        list_res=list_res,
        codes_offset=offset,
        similarity_levels=tuple(_LEVELS.tolist()),
        similarity_quantiles=similarity_quantiles(vectors, land_rows),
    )


def similarity_quantiles(vectors: Vectors, land_rows: NDArray[np.int64]) -> tuple[float, ...]:
    """Return the quantiles of similarity among pairs of at most 2,048 random land cells."""
    from ..encoder.deterministic import gram_matrix

    rng = np.random.default_rng(0)
    rows = (
        np.sort(rng.choice(land_rows, size=min(2048, land_rows.size), replace=False)) if land_rows.size else land_rows
    )
    sample = vectors.of_rows(rows)
    upper = gram_matrix(sample.astype(np.float64))[np.triu_indices(rows.size, k=1)]
    if not upper.size:
        return tuple(np.linspace(-1, 1, _LEVELS.size).tolist())
    return tuple(np.maximum.accumulate(np.quantile(upper, _LEVELS)).tolist())


def _check_search(index: Index) -> None:
    """Search the new resolution for the neighbors of a few rows, and compare with brute force.

    This also compiles the search kernels once for this machine, so that the first query need not wait.
    """
    starts = np.unique(np.linspace(0, max(0, len(index) - _RUN), _COMPARED_RUNS).astype(np.int64))
    some = np.unique(np.minimum((starts[:, None] + np.arange(_RUN)).ravel(), len(index) - 1))
    for row in np.unique(np.linspace(0, len(index) - 1, _CHECKED_QUERIES).astype(np.int64)):
        query = index.vectors.of_rows(np.array([row]))[0]
        result = index.engine.top(query, 10, Filter())
        compared = np.union1d(some, result.rows)
        similarity = index.engine.similarity_of(query, compared)
        best = compared[np.lexsort((compared, -similarity))[: min(10, len(index))]]
        if not np.array_equal(result.rows, best):
            raise CorruptAtlasError(
                f"The search of the new atlas returned wrong neighbors for row {row} of {len(index)}. "
                "The build was stopped; please report this bug."
            )
