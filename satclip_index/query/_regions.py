"""Cells that touch, made regions: which cell is in which, what each is like, and its outline as GeoJSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..geo import grid
from ..geo.cell_polygons import UNITS, cut_rings


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Regions as columns, the one with the best cell first; row i is the region that ``label`` calls i.

    Attributes
    ----------
    label : (n,) int64
        Of each cell that was grouped, in their order, its region.
    count : (m,) int64
        Cells of the region.
    area_km2 : (m,) float64
        Sum of their areas.
    best_cell : (m,) uint64
        Its cell of highest similarity; the lowest id among equals.
    best_similarity : (m,) float32 or float64
    mean_similarity : (m,) float64
        Mean over its cells, each counted once whatever its area.
    """

    label: NDArray[np.int64]
    count: NDArray[np.int64]
    area_km2: NDArray[np.float64]
    best_cell: grid.Cells
    best_similarity: NDArray[np.floating[Any]]
    mean_similarity: NDArray[np.float64]

    def __len__(self) -> int:
        return self.count.size


def contiguous(cells: grid.Cells) -> NDArray[np.int64]:
    """Return, for each cell, the number of the region that it is part of.

    Parameters
    ----------
    cells : (n,) uint64
        Distinct cells of one resolution, in any order.

    Returns
    -------
    (n,) int64
        Two cells have the same number if steps over shared edges lead from one to the other. Regions are numbered from
        0 in the order in which their first cells stand.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not cells.size:
        return np.empty(0, np.int64)
    pairs = grid.adjacent_pairs(cells)
    graph = coo_array((np.ones(pairs[0].size, bool), pairs), shape=(cells.size, cells.size))
    _, first, parts = np.unique(connected_components(graph, directed=False)[1], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[parts]


def group(cells: grid.Cells, similarity: ArrayLike) -> Regions:
    """Return the regions that some cells make up.

    Parameters
    ----------
    cells : (n,) uint64
        Distinct cells of one resolution, in any order.
    similarity : (n,) float
        Of each cell.

    Returns
    -------
    Regions
        By falling best similarity; of equals, the one with the lower best cell first.
    """
    similarity = np.asarray(similarity)
    label = contiguous(cells)
    order = np.lexsort((cells, -similarity, label))
    best = order[np.unique(label[order], return_index=True)[1]]
    ranks = np.lexsort((cells[best], -similarity[best]))
    label, best = np.argsort(ranks)[label], best[ranks]
    count = np.bincount(label, minlength=best.size)
    return Regions(
        label=label,
        count=count,
        area_km2=np.asarray(np.bincount(label, grid.cell_areas_km2(cells), best.size), dtype=np.float64),
        best_cell=cells[best],
        best_similarity=similarity[best],
        mean_similarity=np.bincount(label, similarity, best.size) / count,
    )


def outline(cells: grid.Cells) -> dict[str, Any]:
    """Return the outline of some cells.

    Parameters
    ----------
    cells : (n,) uint64
        Distinct cells of one resolution, in any order, touching or not.

    Returns
    -------
    dict
        A GeoJSON Polygon or MultiPolygon (RFC 7946): lon in [-180, 180], cut at the antimeridian and closed over a
        pole inside; outer rings run counter-clockwise, holes clockwise. Coordinates are rounded to 1e-7 degrees.

    Notes
    -----
    Every cell is cut on its own. Its edges are arcs of great circles: each gets vertices where it crosses the
    meridians of every third degree, the antimeridian among them. As neighbours have the very same numbers along an edge
    they share, that edge falls away exactly, and no sliver is left.
    """
    import shapely

    if not cells.size:
        return {"type": "MultiPolygon", "coordinates": []}
    x, y, ring, _ = cut_rings(cells)
    pieces = shapely.polygons(shapely.linearrings(x / UNITS, y / UNITS, indices=ring))
    whole = shapely.simplify(shapely.coverage_union_all(pieces), 0)  # no vertices along the edges of the map
    document: dict[str, Any] = shapely.geometry.mapping(shapely.reverse(shapely.normalize(whole)))
    return document
