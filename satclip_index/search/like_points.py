"""The search of ``like`` for each of many points at once."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..concurrency import in_order
from ..geo import grid, sphere
from .embedding_source import EmbeddingSource
from .engine import Ranges
from .geo_filters import disks
from .nearest_neighbors import GROUP_ABOVE
from .search_rules import SearchRules
from .tree import run_starts

_CHUNK = 256  # points per thread at a time


@dataclass(frozen=True, slots=True)
class PointMatches:
    """The rows of an index that are similar to each of some points, one point after the other.

    Attributes
    ----------
    count : (n,) int64
        Number of matches of each point.
    rank : (m,) int64
        1 for the most similar match of a point.
    row : (m,) int64
        Row of the index.
    similarity : (m,) float32
        Inner product of the stored vectors, in [-1, 1].
    distance_km : (m,) float64
        Great-circle distance from the point to the center of the row's cell.
    """

    count: NDArray[np.int64]
    rank: NDArray[np.int64]
    row: NDArray[np.int64]
    similarity: NDArray[np.float32]
    distance_km: NDArray[np.float64]


def like_points(
    atlas: EmbeddingSource,
    res: int,
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    rules: SearchRules,
    *,
    rows: Ranges | None = None,
) -> PointMatches:
    """Return the results of :meth:`Atlas.like` for each point on its own.

    Parameters
    ----------
    atlas : EmbeddingSource
    res : int
        The resolution to search, one of the atlas.
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180], lat in [-90, 90].
    rules : SearchRules
        ``k`` is required. ``exclude_within_km`` applies to the point that a search is for.
    rows : (r, 2) int64, optional
        The only rows that may be matches, as sorted disjoint ranges.
    """
    assert rules.k is not None
    index, k = atlas.index(res), rules.k
    where, away_rad = rules.to_filter(index, rows=rows), rules.exclude_within_km / sphere.EARTH_RADIUS_KM
    cells, inverse = np.unique(grid.cells_of_points(lon, lat, res), return_inverse=True)
    queries = atlas.vectors_of(cells)[inverse]
    # Points that are close together in the tree are searched together.
    order = np.argsort(inverse, kind="stable")
    points = sphere.unit_vectors(lon, lat)
    chunks = np.array_split(order, max(1, -(-order.size // _CHUNK)))
    in_groups = rules.apart_km == 0 and rules.min_similarity is None

    def search_chunk(chunk: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        if in_groups:
            start = run_starts(grid.ancestors(cells[inverse[chunk]], max(0, res - GROUP_ABOVE)))
            rows, similarity = index.engine.nearest(
                queries[chunk], start, min(k, len(index)), where, points=points[chunk], away_rad=away_rad
            )
            return [(row[row >= 0], alike[row >= 0]) for row, alike in zip(rows, similarity, strict=True)]
        matches = []
        for i in chunk:
            away = disks(lon[i : i + 1], lat[i : i + 1], rules.exclude_within_km)
            hits = index.engine.top(queries[i], k, replace(where, away=away if away.size else None))
            matches.append((hits.rows, hits.similarity))
        return matches

    matches = [match for chunk in in_order(search_chunk, chunks) for match in chunk]
    matches = [matches[at] for at in np.argsort(order, kind="stable")]
    count = np.array([rows.size for rows, _ in matches], dtype=np.int64)
    row = np.concatenate([rows for rows, _ in matches] or [np.empty(0, np.int64)])
    point = np.repeat(np.arange(lon.size), count)
    to_lon, to_lat = grid.cell_centers(index.cells[row])
    return PointMatches(
        count=count,
        rank=np.arange(row.size) - np.repeat(np.cumsum(count) - count, count) + 1,
        row=row,
        similarity=np.concatenate([alike for _, alike in matches] or [np.empty(0, np.float32)]),
        distance_km=sphere.distances_km(lon[point], lat[point], to_lon, to_lat),
    )
