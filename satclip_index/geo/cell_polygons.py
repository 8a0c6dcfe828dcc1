"""Boundaries of cells as polygons in degrees: cut at the antimeridian and closed over the poles."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import grid

if TYPE_CHECKING:
    import pyarrow as pa

Vertices = NDArray[np.int64]
Rows = NDArray[np.int64]

UNITS = 10**7  # per degree: boundaries are integers of 1e-7 degrees, about a centimeter
_HALF_TURN = 180 * UNITS
_MERIDIANS = (
    3 * UNITS
)  # edges get vertices on these meridians, so that straight map lines keep the area of a cell to 0.5 %
_HIGHEST = 90 * UNITS - 1  # only the edge of the map reaches the poles
_CELLS_AT_ONCE = 1 << 18  # bounds the memory of vertices


def cell_polygons(cells: grid.Cells) -> "pa.Array":
    """Return the boundary of each cell as WKB.

    Parameters
    ----------
    cells : (n,) uint64
        Valid H3 cells of any resolutions, in any order, repeated or not.

    Returns
    -------
    pyarrow.Array of binary, n long
        A Polygon, or a MultiPolygon if the antimeridian cuts the cell. Lon in [-180, 180], rings counterclockwise; a
        cell over a pole is closed along the edge of the map. Coordinates are rounded to 1e-7 degrees.

    Raises
    ------
    InvalidCellError
        If any value is not an H3 cell.

    Notes
    -----
    Edges are arcs of great circles, with a vertex at every third meridian that they cross. Cells of one resolution that
    share an edge have identical coordinates along it, if they are passed in one call. Within meters of a pole,
    latitudes of H3 are precise to ten centimeters only (it computes them by an arcsine): polygons there are valid up to
    res 14; at res 15 the polygon over the pole is valid, but not all of its neighbors.
    """
    import pyarrow as pa

    distinct, row = np.unique(grid.check_cells(cells), return_inverse=True)
    parts = [distinct[start : start + _CELLS_AT_ONCE] for start in range(0, distinct.size, _CELLS_AT_ONCE)]
    chunks = [pa.array([], pa.binary()), *(pa.array(_wkb(part), pa.binary()) for part in parts)]
    return pa.concat_arrays(chunks).take(pa.array(row))


def _wkb(cells: grid.Cells) -> NDArray[np.object_]:
    import shapely

    x, y, ring, cell = cut_rings(cells)
    pieces = shapely.polygons(shapely.linearrings(x / UNITS, y / UNITS, indices=ring))
    order = np.argsort(cell, kind="stable")
    first = np.searchsorted(cell[order], np.arange(cells.size))
    shapes = pieces[order[first]]
    cut = np.flatnonzero(np.bincount(cell) > 1)
    in_cut = np.isin(cell[order], cut)
    shapes[cut] = shapely.multipolygons(pieces[order[in_cut]], indices=np.searchsorted(cut, cell[order[in_cut]]))
    encoded: NDArray[np.object_] = shapely.to_wkb(shapes, byte_order=1)
    return encoded


def cut_rings(cells: grid.Cells) -> tuple[Vertices, Vertices, Rows, Rows]:
    """Return the boundaries of cells, cut at the antimeridian.

    Parameters
    ----------
    cells : (n,) uint64
        Distinct cells; n at least 1.

    Returns
    -------
    x, y : (v,) int64
        Vertices, in ``UNITS`` per degree of lon and lat, counterclockwise.
    ring : (v,) int64
        Number of the ring of each vertex, ascending from 0.
    cell : (rings,) int64
        Position in ``cells`` of the cell of each ring.

    Notes
    -----
    A shared edge has the same vertices in both cells if they have the same resolution.
    """
    x, y, cell = _rings(cells)
    on_cut = x == _HALF_TURN
    is_cut = np.zeros(cells.size, dtype=bool)
    is_cut[cell[on_cut]] = True
    south, north = _over_a_pole(cells)
    whole, halved = ~is_cut[cell], (is_cut & ~south & ~north)[cell]
    east, west = halved & (x > 0), halved & ((x < 0) | on_cut)
    rings = [
        (x[whole], y[whole], cell[whole]),
        (x[east], y[east], cell[east] + cells.size),
        (np.where(on_cut, -x, x)[west], y[west], cell[west] + 2 * cells.size),
    ]
    for i in np.flatnonzero(
        south | north
    ):  # around the pole from the antimeridian to the antimeridian, and back along the edge of the map
        around = np.flatnonzero(cell == i)
        around = around[np.argsort(x[around])]
        turn, pole = (1, 90 * UNITS) if north[i] else (-1, -90 * UNITS)
        ring_x = np.concatenate([[-_HALF_TURN, -_HALF_TURN], x[around], [_HALF_TURN]])
        ring_y = np.concatenate([[pole, y[around[-1]]], y[around], [pole]])
        rings.append((ring_x[::turn], ring_y[::turn], np.full(ring_x.size, i + 3 * cells.size)))
    x, y, ring = map(np.concatenate, zip(*rings, strict=True))
    is_area = np.bincount(ring)[ring] > 2  # a cell may touch the antimeridian at a single corner
    numbers, ring = np.unique(ring[is_area], return_inverse=True)
    return x[is_area], y[is_area], ring, numbers % cells.size


def _over_a_pole(cells: grid.Cells) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each cell contains the south pole, and the north pole."""
    poles = [grid.cells_of_points([0.0, 0.0], [-90.0, 90.0], int(res)) for res in np.unique(grid.cell_res(cells))]
    south, north = np.array(poles).T
    return np.isin(cells, south), np.isin(cells, north)


def _rings(cells: grid.Cells) -> tuple[Vertices, Vertices, NDArray[np.int64]]:
    """Return vertices, including those where edges cross meridians, x in (-180, 180] degrees, and the cell of each."""
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

    # After each vertex follow the crossings of meridians of the edge that starts there.
    edge = np.repeat(np.arange(x.size), 1 + crossed)
    step = np.arange(edge.size) - (np.cumsum(1 + crossed) - 1 - crossed)[edge]
    new = np.flatnonzero(step)
    step, on = step[new], edge[new]
    meridian = _MERIDIANS * (first[on] + np.where(heads_east[on], step - 1, crossed[on] - step))
    ring_x, ring_y = x[edge], y[edge]
    ring_x[new] = _HALF_TURN - (_HALF_TURN - meridian) % (2 * _HALF_TURN)
    ring_y[new] = _where_crossed(x[west[on]], y[west[on]], np.abs(eastward[on]), y[east[on]], meridian)
    ring_y = np.clip(ring_y, -_HIGHEST, _HIGHEST)
    return ring_x, ring_y, np.repeat(np.arange(cells.size), np.diff(start))[edge]


def _shared_vertices(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[Vertices, Vertices]:
    """Return vertices of cells in units, x in (-180, 180] degrees, with identical values for shared vertices.

    H3 computes a shared vertex per cell, with different last digits (1e-15 of the Earth's radius), which may be rounded
    to different units: vertices one unit apart are the same.
    """
    x, y = np.round(lon * UNITS).astype(np.int64), np.round(lat * UNITS).astype(np.int64)  # |y| < 2^30
    x[x == -_HALF_TURN] = _HALF_TURN
    keys, vertex = np.unique((x << 31) + y, return_inverse=True)
    same = np.arange(keys.size)
    for near in (1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1):
        at = np.minimum(np.searchsorted(keys, keys + near), keys.size - 1)
        is_near = keys[at] == keys + near
        same[at[is_near]] = np.flatnonzero(is_near)
    keys = keys[same][vertex]
    x = (keys + (1 << 30)) >> 31
    return x, keys - (x << 31)


def _where_crossed(x: Vertices, y: Vertices, width: Vertices, to_y: Vertices, meridian: Vertices) -> Vertices:
    """Return y where great-circle arcs, eastward from (x, y) to (x + width, to_y), cross meridians."""
    arcs, arc = np.unique(
        np.stack([x, y, width, to_y, meridian]), axis=1, return_inverse=True
    )  # the same result in both directions
    x_rad, y_rad, width_rad, to_y_rad, meridian_rad = np.radians(arcs / UNITS)
    rise = np.tan(y_rad) * np.sin(x_rad + width_rad - meridian_rad) + np.tan(to_y_rad) * np.sin(meridian_rad - x_rad)
    crossing: Vertices = np.round(np.degrees(np.arctan2(rise, np.sin(width_rad))) * UNITS).astype(np.int64)
    return crossing[arc]
