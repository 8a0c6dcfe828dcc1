"""Regions of adjacent cells: which cells form one, their statistics, and their outlines as GeoJSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..geo import grid
from ..geo.cell_polygons import UNITS, cut_rings


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Regions as columns, ordered by their best cell; element i is the region with label i.

    Attributes
    ----------
    label : (n,) int64
        The region of each grouped cell, in the order of the cells.
    count : (m,) int64
        Number of cells.
    area_km2 : (m,) float64
        Total area of the cells.
    best_cell : (m,) uint64
        The cell of highest similarity, ties by cell.
    best_similarity : (m,) float32 or float64
    mean_similarity : (m,) float64
        Mean over the cells, each counted once whatever its area.
    """

    label: NDArray[np.int64]
    count: NDArray[np.int64]
    area_km2: NDArray[np.float64]
    best_cell: grid.Cells
    best_similarity: NDArray[np.floating[Any]]
    mean_similarity: NDArray[np.float64]

    def __len__(self) -> int:
        return self.count.size


def label_regions(cells: grid.Cells) -> NDArray[np.int64]:
    """Return the region of each cell.

    Parameters
    ----------
    cells : (n,) uint64
        Distinct cells of one resolution, in any order.

    Returns
    -------
    (n,) int64
        Two cells are in the same region if a path over shared edges connects them. Regions are numbered from 0 in the
        order of their first cells.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not cells.size:
        return np.empty(0, np.int64)
    pairs = grid.adjacent_pairs(cells)
    graph = coo_array((np.ones(pairs[0].size, bool), pairs), shape=(cells.size, cells.size))
    _, first, parts = np.unique(connected_components(graph, directed=False)[1], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[parts]


def group_regions(cells: grid.Cells, similarity: ArrayLike) -> Regions:
    """Return the regions that some cells form.

    Parameters
    ----------
    cells : (n,) uint64
        Distinct cells of one resolution, in any order.
    similarity : (n,) float
        Of each cell.

    Returns
    -------
    Regions
        In order of decreasing best similarity, ties by best cell.
    """
    similarity = np.asarray(similarity)
    label = label_regions(cells)
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
    Every cell is cut separately. Its edges are arcs of great circles, with vertices where they cross the meridians of
    every third degree, including the antimeridian. Adjacent cells have identical coordinates along their shared edge,
    which therefore disappears exactly, without slivers.
    """
    import shapely

    if not cells.size:
        return {"type": "MultiPolygon", "coordinates": []}
    x, y, ring, _ = cut_rings(cells)
    pieces = shapely.polygons(shapely.linearrings(x / UNITS, y / UNITS, indices=ring))
    whole = shapely.simplify(shapely.coverage_union_all(pieces), 0)  # no vertices along the edges of the map
    document: dict[str, Any] = shapely.geometry.mapping(shapely.reverse(shapely.normalize(whole)))
    return document
