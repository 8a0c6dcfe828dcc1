"""The places like each of many points: the question of ``like``, asked by a table."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..concurrency import in_order
from ..geo import grid, sphere
from .embedding_source import EmbeddingSource
from .engine import Filter
from .geo_filters import disks
from .nearest_neighbors import GROUP_ABOVE
from .tree import run_starts

_CHUNK = 256  # points that a thread takes at a time


@dataclass(frozen=True, slots=True)
class Lookalikes:
    """The rows of an index that are like each of some points.

    Attributes
    ----------
    count : (n,) int64
        How many there are for each point.
    rank : (m,) int64
        1 for the most similar to a point; those of a point lie together.
    row : (m,) int64
        Of the index.
    similarity : (m,) float32
        Inner product of the stored vectors, in [-1, 1].
    distance_km : (m,) float64
        Great-circle distance from the point to the centre of the row's cell.
    """

    count: NDArray[np.int64]
    rank: NDArray[np.int64]
    row: NDArray[np.int64]
    similarity: NDArray[np.float32]
    distance_km: NDArray[np.float64]


def like_points(
    atlas: EmbeddingSource,
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    *,
    res: int,
    k: int,
    exclude_within_km: float,
    where: Filter,
) -> Lookalikes:
    """Return what ``like`` answers to each point on its own, all points being searched for together.

    Parameters
    ----------
    atlas : EmbeddingSource
    lon, lat : (n,) float64
        Degrees, checked.
    res : int
        A resolution of the atlas, which is searched.
    k : int
        Answers to each point.
    exclude_within_km : float
        No answer is nearer than this to its point.
    where : Filter
        The other rules, but for ``away``.
    """
    index = atlas.index(res)
    cells, inverse = np.unique(grid.cells_of_points(lon, lat, index.res), return_inverse=True)
    queries = atlas.vectors_of(cells)[inverse]
    # Side by side in the tree, side by side in time.
    order = np.argsort(inverse, kind="stable")
    points, away_rad = sphere.unit_vectors(lon, lat), exclude_within_km / sphere.EARTH_RADIUS_KM
    parts = np.array_split(order, max(1, -(-order.size // _CHUNK)))
    together = where.apart_rad == 0 and where.least == -math.inf

    def answer(some: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        if together:
            start = run_starts(grid.ancestors(cells[inverse[some]], max(0, index.res - GROUP_ABOVE)))
            rows, similarity = index.engine.nearest(
                queries[some], start, min(k, len(index)), where, points=points[some], away_rad=away_rad
            )
            return [(row[row >= 0], alike[row >= 0]) for row, alike in zip(rows, similarity, strict=True)]
        found = []
        for i in some:
            away = disks(lon[i : i + 1], lat[i : i + 1], exclude_within_km)
            top = index.engine.top(queries[i], k, replace(where, away=away if away.size else None))
            found.append((top.rows, top.similarity))
        return found

    answers = [one for part in in_order(answer, parts) for one in part]
    answers = [answers[at] for at in np.argsort(order, kind="stable")]
    count = np.array([rows.size for rows, _ in answers], dtype=np.int64)
    row = np.concatenate([rows for rows, _ in answers] or [np.empty(0, np.int64)])
    point = np.repeat(np.arange(lon.size), count)
    to_lon, to_lat = grid.cell_centers(index.cells[row])
    return Lookalikes(
        count=count,
        rank=np.arange(row.size) - np.repeat(np.cumsum(count) - count, count) + 1,
        row=row,
        similarity=np.concatenate([alike for _, alike in answers] or [np.empty(0, np.float32)]),
        distance_km=sphere.distances_km(lon[point], lat[point], to_lon, to_lat),
    )
