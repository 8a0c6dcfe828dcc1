"""H3 cells: their centers, boundaries, areas, ancestors and descendants."""

from collections.abc import Sequence
from functools import lru_cache

import h3.api.numpy_int as h3
import h3ronpy
import numpy as np
from h3ronpy.vector import cells_to_coordinates, cells_to_wkb_polygons, coordinates_to_cells
from numpy.typing import ArrayLike, NDArray

from ..checks import is_whole_number
from ..errors import InvalidCellError, ResolutionError
from .coordinates import check_coordinates

Cells = NDArray[np.uint64]

MAX_RES = 15
_SHARD_ROWS = 32_768
_FINEST_OF_BASE_CELLS = 6  # the finest resolution whose shards are whole base cells

# The 64 bits of a cell: 1 reserved, 4 mode, 3 reserved, 4 resolution, 7 base cell, then 15 digits of 3 bits, the
# coarsest first; digits finer than the resolution are 7 (h3geo.org/docs/core-library/h3Indexing).
_RES_SHIFT = np.uint64(52)
_RES_MASK = np.uint64(0xF << 52)

_WKB_HEADER_BYTES = 13  # byte order, type, one ring and its number of points (OGC 06-103r4, 8.2)


def check_res(res: int, *, highest: int = MAX_RES) -> int:
    """Return ``res``, or raise ResolutionError if it is not a whole number in [0, highest]."""
    if not is_whole_number(res) or not 0 <= res <= highest:
        raise ResolutionError(f"{res!r} is not an H3 resolution; expected a whole number from 0 to {highest}.")
    return int(res)


def check_resolutions(res: int | Sequence[int], *, highest: int = MAX_RES) -> list[int]:
    """Return one or several resolutions as a list, ascending and without repetition.

    Raises
    ------
    ResolutionError
        If the list is empty, or a value is not a whole number in [0, highest].
    """
    values = np.atleast_1d(np.asarray(res, dtype=object))
    if not values.size:
        raise ResolutionError(f"No resolution was given; expected at least one, from 0 to {highest}.")
    return sorted({check_res(value, highest=highest) for value in values})


def check_cells(cells: ArrayLike) -> Cells:
    """Return ``cells`` as a uint64 vector, or raise InvalidCellError naming the first that is not an H3 cell."""
    try:
        values = np.atleast_1d(np.asarray(cells, dtype=np.uint64))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidCellError(f"Cells must be unsigned 64-bit integers: {error}.") from None
    bad = np.flatnonzero(~are_cells(values))
    if bad.size:
        raise InvalidCellError(
            f"{bad.size} of {values.size} values are not H3 cells; first is {int(values[bad[0]]):#x} at row {bad[0]}."
        )
    return values


def are_cells(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return whether each value, (n,) uint64, is an H3 cell of any resolution."""
    return np.asarray(h3ronpy.cells_valid(values, booleanarray=True)).astype(bool)


def cell_count(res: int) -> int:
    """Return the number of cells of a resolution: 2 + 120 * 7^res."""
    return 2 + 120 * int(7 ** check_res(res))


def cells_at(res: int) -> Cells:
    """Return every cell of a resolution, ascending.

    Parameters
    ----------
    res : int
        H3 resolution.

    Returns
    -------
    (2 + 120 * 7**res,) uint64
        Ascending, so that the descendants of any cell are consecutive.
    """
    return descendants(_base_cells(), check_res(res))


@lru_cache(maxsize=MAX_RES + 1)
def shard_roots(res: int) -> tuple[Cells, ...]:
    """Return, for each shard of a resolution in row order, the ancestors whose descendants it has.

    A shard is one Parquet file and the unit of building. Up to res 6 it has consecutive base cells, for about 32,768
    rows. At res 7 and finer, it has one cell six resolutions coarser, for at most 117,649 rows.
    """
    if res > _FINEST_OF_BASE_CELLS:
        return tuple(cells_at(res - _FINEST_OF_BASE_CELLS)[:, None])
    bases = _base_cells()
    per_base = cell_count(res) / bases.size
    shards = max(1, min(bases.size, round(bases.size * per_base / _SHARD_ROWS)))
    return tuple(np.array_split(bases, shards))


def descendants(cells: Cells, res: int) -> Cells:
    """Return the descendants of cells at a resolution, ascending.

    The cells must be distinct, not finer than ``res``, and none a descendant of another.
    """
    return np.sort(np.asarray(h3.uncompact_cells(cells, res), dtype=np.uint64))


def descendant_count(cells: Cells, res: int) -> int:
    """Return the number of cells that :func:`descendants` returns."""
    return sum(int(h3.cell_to_children_size(cell, res)) for cell in cells)


def ancestors(cells: Cells, res: int) -> Cells:
    """Return the ancestor of each cell at a coarser or the same resolution.

    Parameters
    ----------
    cells : (n,) uint64
        Cells of resolution ``res`` or finer.
    res : int
        H3 resolution.

    Returns
    -------
    (n,) uint64
    """
    return _numpy(h3ronpy.change_resolution(cells, res), np.uint64)


def descendants_of_each(cells: Cells, res: int) -> tuple[NDArray[np.int64], Cells]:
    """Return the descendants of each cell at a resolution: in the order of the cells, ascending for each.

    Parameters
    ----------
    cells : (n,) uint64
        Valid cells of resolution ``res`` or coarser, repeated or not.
    res : int
        H3 resolution.

    Returns
    -------
    row : (m,) int64
        Position in ``cells`` of the ancestor of each descendant.
    cell : (m,) uint64
    """
    paired = h3ronpy.change_resolution_paired(cells, res)
    before, after = _numpy(paired["cell_before"], np.uint64), _numpy(paired["cell_after"], np.uint64)
    return np.cumsum(after == _first_descendants(before, res)) - 1, after


def _first_descendants(cells: Cells, res: int) -> Cells:
    """Return the lowest descendant of each cell at a resolution: the digits between the two are 0."""
    free = (3 * (res - cell_res(cells))).astype(np.uint64)
    digits = ((np.uint64(1) << free) - np.uint64(1)) << np.uint64(3 * (MAX_RES - res))
    return (cells & ~_RES_MASK & ~digits) | (np.uint64(res) << _RES_SHIFT)


def cell_res(cells: Cells) -> NDArray[np.int64]:
    """Return the resolution of each cell."""
    return ((cells & _RES_MASK) >> _RES_SHIFT).astype(np.int64)


def cell_centers(cells: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the center of each cell.

    Parameters
    ----------
    cells : (n,) uint64
        Valid H3 cells of any resolution.

    Returns
    -------
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180], lat in [-90, 90].

    Raises
    ------
    InvalidCellError
        If any value is not an H3 cell.
    """
    points = cells_to_coordinates(check_cells(cells))
    return _numpy(points["lng"], np.float64), _numpy(points["lat"], np.float64)


def cell_boundaries(cells: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the vertices of each cell, counterclockwise, without repeating the first.

    Parameters
    ----------
    cells : (n,) uint64
        Valid H3 cells of any resolution.

    Returns
    -------
    lon, lat : (v,) float64
        Degrees; lon in [-180, 180], also for cells that cross the antimeridian.
    start : (n + 1,) int64
        The vertices of cell i are ``start[i] .. start[i + 1] - 1``: six, five for a pentagon, and more where the cell
        crosses an edge of the icosahedron of H3.

    Raises
    ------
    InvalidCellError
        If any value is not an H3 cell.
    """
    polygons = cells_to_wkb_polygons(check_cells(cells)).to_pylist()
    sizes = np.array([len(polygon) - _WKB_HEADER_BYTES for polygon in polygons], dtype=np.int64) // 16 - 1
    points = np.frombuffer(b"".join(polygon[_WKB_HEADER_BYTES:-16] for polygon in polygons), dtype="<f8").reshape(-1, 2)
    return points[:, 0].copy(), points[:, 1].copy(), np.concatenate([[0], np.cumsum(sizes)])


def cell_areas_km2(cells: Cells) -> NDArray[np.float64]:
    """Return the area of each cell, (n,) float64 square kilometers, on H3's sphere of radius 6371.007 km."""
    return _numpy(h3ronpy.cells_area_km2(check_cells(cells)), np.float64)


def adjacent_pairs(cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of cells that share an edge.

    Parameters
    ----------
    cells : (n,) uint64
        Distinct cells of one resolution, in any order.

    Returns
    -------
    a, b : (m,) int64
        Positions in ``cells``, each pair once, ``a < b``.
    """
    disks = h3ronpy.grid_disk_distances(check_cells(cells), 1, flatten=True)
    neighbors = _numpy(disks["cell"], np.uint64)
    a = np.cumsum(_numpy(disks["k"], np.int64) == 0) - 1  # each disk starts with its center
    order = np.argsort(cells)
    b = order[np.minimum(np.searchsorted(cells, neighbors, sorter=order), cells.size - 1)]
    once = (cells[b] == neighbors) & (a < b)
    return a[once], b[once]


def cells_of_points(lon: ArrayLike, lat: ArrayLike, res: int) -> Cells:
    """Return the cell of a resolution that contains each point.

    Parameters
    ----------
    lon, lat : float or (n,) array
        Degrees; lon in [-180, 360], lat in [-90, 90].
    res : int
        H3 resolution.

    Returns
    -------
    (n,) uint64

    Raises
    ------
    CoordinateError
        If a coordinate is missing, not finite or out of range.
    """
    lon, lat = check_coordinates(lon, lat)
    return _numpy(coordinates_to_cells(lat, lon, check_res(res)), np.uint64)


def cell_to_text(cell: int | np.uint64) -> str:
    """Return a cell as lower-case hexadecimal text, as in other H3 libraries."""
    return f"{int(cell):x}"


def text_to_cell(text: str) -> int:
    """Return a cell from hexadecimal text, or raise InvalidCellError."""
    try:
        value = int(text, 16)
    except ValueError:
        value = 0
    if not 0 < value < 2**64 or not h3.is_valid_cell(value):
        raise InvalidCellError(f"{text!r} is not an H3 cell; expected 15 hexadecimal digits such as 847a6e7ffffffff.")
    return value


@lru_cache(maxsize=1)
def _base_cells() -> Cells:
    bases = np.sort(np.asarray(h3.get_res0_cells(), dtype=np.uint64))
    bases.setflags(write=False)
    return bases


def _numpy(column: object, dtype: type[np.generic]) -> NDArray:  # type: ignore[type-arg]
    return np.asarray(column, dtype=dtype)
