"""Cells that touch, made regions: which cell is in which, what each is like, and its outline as GeoJSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import grid

Vertices = NDArray[np.int64]

_UNITS = 10**7  # to a degree: outlines are whole numbers of 1e-7 degrees, about a centimetre
_HALF_TURN = 180 * _UNITS
_MERIDIANS = (
    3 * _UNITS
)  # edges get a vertex on such meridians; straight lines on the map between them keep to 0.5 % of a cell's area


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
    x, y, ring = _cut_rings(cells)
    pieces = shapely.polygons(shapely.linearrings(x / _UNITS, y / _UNITS, indices=ring))
    whole = shapely.simplify(shapely.coverage_union_all(pieces), 0)  # no vertices along the edges of the map
    document: dict[str, Any] = shapely.geometry.mapping(shapely.reverse(shapely.normalize(whole)))
    return document


def _cut_rings(cells: grid.Cells) -> tuple[Vertices, Vertices, NDArray[np.int64]]:
    """Return the rings of cells cut at the antimeridian: their vertices, and the number of the ring of each."""
    x, y, cell = _rings(cells)
    on_cut = x == _HALF_TURN
    is_cut = np.zeros(cells.size, dtype=bool)
    is_cut[cell[on_cut]] = True
    poles = grid.cells_of_points([0.0, 0.0], [-90.0, 90.0], int(grid.cell_res(cells[:1])[0]))
    polar = np.isin(cells, poles)
    whole, halved = ~is_cut[cell], (is_cut & ~polar)[cell]
    east, west = halved & (x > 0), halved & ((x < 0) | on_cut)
    rings = [
        (x[whole], y[whole], cell[whole]),
        (x[east], y[east], cell[east] + cells.size),
        (np.where(on_cut, -x, x)[west], y[west], cell[west] + 2 * cells.size),
    ]
    for i in np.flatnonzero(polar):  # from the antimeridian round to it again, and back along the edge of the map
        around = np.flatnonzero(cell == i)
        around = around[np.argsort(x[around])]
        pole = 90 * _UNITS * (1 if cells[i] == poles[1] else -1)
        ring_x = np.concatenate([[-_HALF_TURN, -_HALF_TURN], x[around], [_HALF_TURN]])
        ring_y = np.concatenate([[pole, y[around[-1]]], y[around], [pole]])
        rings.append((ring_x, ring_y, np.full(ring_x.size, i + 3 * cells.size)))
    x, y, ring = map(np.concatenate, zip(*rings, strict=True))
    is_area = np.bincount(ring)[ring] > 2  # a cell may touch the antimeridian with one corner
    return x[is_area], y[is_area], np.unique(ring[is_area], return_inverse=True)[1]


def _rings(cells: grid.Cells) -> tuple[Vertices, Vertices, NDArray[np.int64]]:
    """Return the vertices of cells and of their edges on meridians, x in (-180, 180] degrees, and the cell of each."""
    lon, lat, start = grid.cell_boundaries(cells)
    x, y = _shared_vertices(lon, lat)
    following = np.arange(1, x.size + 1)
    following[start[1:] - 1] = start[:-1]
    eastward = (x[following] - x + _HALF_TURN) % (2 * _HALF_TURN) - _HALF_TURN
    heads_east = eastward > 0
    west = np.where(heads_east, np.arange(x.size), following)
    east = np.where(heads_east, following, np.arange(x.size))
    first = x[west] // _MERIDIANS + 1
    crossed = np.maximum(-((-x[west] - np.abs(eastward)) // _MERIDIANS) - first, 0)

    # Every vertex is followed by those that the edge which begins there has on meridians.
    edge = np.repeat(np.arange(x.size), 1 + crossed)
    step = np.arange(edge.size) - (np.cumsum(1 + crossed) - 1 - crossed)[edge]
    new = np.flatnonzero(step)
    step, on = step[new], edge[new]
    meridian = _MERIDIANS * (first[on] + np.where(heads_east[on], step - 1, crossed[on] - step))
    ring_x, ring_y = x[edge], y[edge]
    ring_x[new] = _HALF_TURN - (_HALF_TURN - meridian) % (2 * _HALF_TURN)
    ring_y[new] = _where_crossed(x[west[on]], y[west[on]], np.abs(eastward[on]), y[east[on]], meridian)
    return ring_x, ring_y, np.repeat(np.arange(cells.size), np.diff(start))[edge]


def _shared_vertices(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[Vertices, Vertices]:
    """Return vertices of cells in units, x in (-180, 180] degrees; those that cells share are the same numbers.

    Cells give a vertex they share with other last digits (1e-15 of the Earth's radius), which may be rounded to
    either side: what is one unit apart is the same vertex.
    """
    x, y = np.round(lon * _UNITS).astype(np.int64), np.round(lat * _UNITS).astype(np.int64)  # |y| < 2^30
    x[x == -_HALF_TURN] = _HALF_TURN
    keys, vertex = np.unique((x << 31) + y, return_inverse=True)
    same = np.arange(keys.size)
    for near in (1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1):
        found = np.minimum(np.searchsorted(keys, keys + near), keys.size - 1)
        is_near = keys[found] == keys + near
        same[found[is_near]] = np.flatnonzero(is_near)
    keys = keys[same][vertex]
    x = (keys + (1 << 30)) >> 31
    return x, keys - (x << 31)


def _where_crossed(x: Vertices, y: Vertices, width: Vertices, to_y: Vertices, meridian: Vertices) -> Vertices:
    """Return the y at which arcs of great circles, from (x, y) eastwards to (x + width, to_y), cross meridians."""
    arcs, arc = np.unique(np.stack([x, y, width, to_y, meridian]), axis=1, return_inverse=True)  # both ways the same
    x_rad, y_rad, width_rad, to_y_rad, meridian_rad = np.radians(arcs / _UNITS)
    rise = np.tan(y_rad) * np.sin(x_rad + width_rad - meridian_rad) + np.tan(to_y_rad) * np.sin(meridian_rad - x_rad)
    crossing: Vertices = np.round(np.degrees(np.arctan2(rise, np.sin(width_rad))) * _UNITS).astype(np.int64)
    return crossing[arc]
