"""One resolution of an atlas, put together from the segments of its shards."""

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

_LISTS_ABOVE = 2  # inverted lists are ancestors so far up, of at most 49 rows
_LEVELS = np.concatenate(
    [[0, 0.0001, 0.0005, 0.001, 0.005], np.arange(1, 100) / 100, [0.995, 0.999, 0.9995, 0.9999, 1]]
)
_QUESTIONS = 3
_COMPARED_RUNS, _RUN = 32, 4096  # so many rows of a large resolution are compared, without mapping all of it


def assemble(folder: Path, res: int, segments: Sequence[Path]) -> ResolutionEntry:
    """Write index and tree of a resolution into its folder, and return what the manifest says of it.

    It takes the memory of one segment, and gives the same bytes however often it is begun.
    """
    list_res = max(0, res - _LISTS_ABOVE)
    parts = Segments(segments, res, list_res)
    parts.write_tree(folder / "tree.safetensors")
    offset = parts.write_index(folder / "index.faiss")
    tree = Tree.open(folder / "tree.safetensors")
    vectors = Vectors(folder / "index.faiss", offset, tree.starts(list_res), parts.dim)
    _check_search(Index(tree, vectors))
    land_rows = np.flatnonzero(tree.rows.land)
    return ResolutionEntry(
        count=len(parts),
        land_count=land_rows.size,
        list_res=list_res,
        codes_offset=offset,
        similarity_levels=tuple(_LEVELS.tolist()),
        similarity_quantiles=similarity_quantiles(vectors, land_rows),
    )


def similarity_quantiles(vectors: Vectors, land_rows: NDArray[np.int64]) -> tuple[float, ...]:
    """Return the quantiles of the similarity of random pairs of land cells, over at most 2,048 of them."""
    from ..encoder.deterministic import inner_products

    rng = np.random.default_rng(0)
    rows = (
        np.sort(rng.choice(land_rows, size=min(2048, land_rows.size), replace=False)) if land_rows.size else land_rows
    )
    sample = vectors.of_rows(rows)
    upper = inner_products(sample.astype(np.float64))[np.triu_indices(rows.size, k=1)]
    if not upper.size:
        return tuple(np.linspace(-1, 1, _LEVELS.size).tolist())
    return tuple(np.maximum.accumulate(np.quantile(upper, _LEVELS)).tolist())


def _check_search(index: Index) -> None:
    """Ask a finished resolution for the neighbours of a few rows; the tree must answer as comparing them does.

    It also compiles the search, once for this machine, so that the first question need not wait for that.
    """
    starts = np.unique(np.linspace(0, max(0, len(index) - _RUN), _COMPARED_RUNS).astype(np.int64))
    some = np.unique(np.minimum((starts[:, None] + np.arange(_RUN)).ravel(), len(index) - 1))
    for row in np.unique(np.linspace(0, len(index) - 1, _QUESTIONS).astype(np.int64)):
        query = index.vectors.of_rows(np.array([row]))[0]
        answer = index.engine.top(query, 10, Filter())
        compared = np.union1d(some, answer.rows)
        similarity = index.engine.similarity_of(query, compared)
        best = compared[np.lexsort((compared, -similarity))[: min(10, len(index))]]
        if not np.array_equal(answer.rows, best):
            raise CorruptAtlasError(
                f"The new atlas answers wrongly at row {row} of {len(index)}. It is not finished; please report it."
            )
