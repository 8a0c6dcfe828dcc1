"""The locations of a table's rows: which columns have them, and the points and cells in these columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..database import number_of, numpy_of, quoted
from ..errors import TableError
from ..geo import grid
from ..geo.coordinates import are_on_earth, wrap_lon

LON_NAMES = ("lon", "lng", "long", "longitude", "x")
LAT_NAMES = ("lat", "latitude", "y")
CELL_NAMES = ("cell", "h3", "h3_cell", "h3_index", "h3_id", "h3index", "h3cell", "hex", "hex_id", "cell_id")
_CELL_TYPES = ("UBIGINT", "BIGINT", "HUGEINT", "UHUGEINT", "VARCHAR")
_POINT_WKB = np.dtype([("order", "u1"), ("kind", "<u4"), ("lon", "<f8"), ("lat", "<f8")])


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumns:
    """The names a user gives for a table's columns of degrees or of cells; None to find them by their usual names."""

    lon: str | None = None
    lat: str | None = None
    cell: str | None = None


@dataclass(frozen=True, slots=True)
class RowLocations:
    """Which of some rows have a location on Earth, and where it is.

    Attributes
    ----------
    kept : (n,) bool
        For every row, whether it has a location; the other arrays are about these rows only.
    lon, lat : (m,) float64
        Degrees in [-180, 180] and [-90, 90]; the center of a cell.
    cell : (m,) uint64
        The cell at the requested resolution; empty without one.
    left_out : dict of str to int
        Number of rows without a location, by reason.
    """

    kept: NDArray[np.bool_]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    cell: grid.Cells
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class LocationColumns:
    """The columns with the location of a row: a pair ``lon, lat``, or a ``cell``, or a ``geometry``; else empty."""

    lon: str = ""
    lat: str = ""
    cell: str = ""
    geometry: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of these columns."""
        return tuple(filter(None, (self.lon, self.lat, self.cell, self.geometry)))

    def sql(self, types: dict[str, str]) -> list[str]:
        """Return the SQL expressions that :meth:`locate` needs; they are never NULL."""
        if self.cell:
            return [_cell_of(self.cell, types[self.cell])]
        if self.geometry:
            name = quoted(self.geometry)
            wkb = f"ST_AsWKB({name})" if types[self.geometry].startswith("GEOMETRY") else name
            return [f"COALESCE({wkb}, ''::BLOB)"]
        return [nan_for_null(number_of(name, types[name])) for name in (self.lon, self.lat)]

    def locate(self, columns: Sequence[Any], res: int | None) -> RowLocations:
        """Return the locations of rows, from Arrow arrays of the expressions of :meth:`sql`."""
        if self.cell:
            return _locate_cells(numpy_of(columns[0]), res)
        if self.geometry:
            _, offsets, data = columns[0].buffers()
            starts = np.frombuffer(offsets, np.int32, len(columns[0]) + 1, 4 * columns[0].offset)
            return _locate_points(*points_of_wkb(np.frombuffer(data or b"", np.uint8), starts), res)
        lon, lat = map(numpy_of, columns)
        return _locate_points(lon, lat, res)


def find_location_columns(
    path: str | Path, types: dict[str, str], named: TableColumns | None = None, *, allow_cells: bool = True
) -> LocationColumns:
    """Return the columns with the location of a row.

    Parameters
    ----------
    path : str or Path
        The name of the table in errors.
    types : dict of str to str
        Its columns, as :func:`table_columns` returns them.
    named : TableColumns, optional
        The columns to use. By default those with usual names, ignoring case: first coordinates, then cells, then a
        geometry.
    allow_cells : bool
        Whether a column of cells can be used.

    Raises
    ------
    TableError
        If a column is missing or of an unsuitable type, or no columns are found.
    """
    lon, lat, cell = (named.lon, named.lat, named.cell) if named else (None, None, None)
    check_columns(path, types, filter(None, (lon, lat, cell)))
    if cell and (lon or lat):
        raise TableError("Both a column of cells and one of coordinates are named; expected the one or the other.")
    if bool(lon) != bool(lat):
        present, missing = ("--lon", "--lat") if lon else ("--lat", "--lon")
        raise TableError(f"{present} names a column, and {missing} does not; expected both or neither.")
    if cell:
        if types[cell] not in _CELL_TYPES:
            raise TableError(
                f"Column {cell!r} of {path} is {types[cell]}; expected cells as whole numbers or hexadecimal text."
            )
        return LocationColumns(cell=cell)
    east, north = lon or _named(types, LON_NAMES), lat or _named(types, LAT_NAMES)
    if east and north:
        return LocationColumns(lon=east, lat=north)
    cells = _named([name for name, kind in types.items() if kind in _CELL_TYPES], CELL_NAMES) if allow_cells else None
    if cells:
        return LocationColumns(cell=cells)
    geometry = geometry_in(types)
    if geometry:
        return LocationColumns(geometry=geometry)
    hint = "--lon and --lat, or --cell" if allow_cells else "--lon and --lat"
    raise TableError(f"{path} has no coordinates that can be found; name them with {hint}: {_listed(types)}.")


def check_columns(path: str | Path, types: dict[str, str], names: Iterable[str]) -> None:
    """Raise TableError if a table lacks one of the columns."""
    for name in names:
        if name not in types:
            raise TableError(f"{path} has no column {name!r}; it has {_listed(types)}.")


def nan_for_null(number: str) -> str:
    """Return the SQL of a number with NaN for NULL."""
    return f"COALESCE({number}, 'nan'::DOUBLE)"


def points_of_wkb(
    data: NDArray[np.uint8], offsets: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lon and lat of little-endian WKB points, NaN for anything else; value i starts at byte ``offsets[i]``."""
    points = np.zeros(offsets.size - 1, _POINT_WKB)
    whole = np.diff(offsets) >= _POINT_WKB.itemsize  # longer with a height
    points[whole] = data[offsets[:-1][whole, None] + np.arange(_POINT_WKB.itemsize)].view(_POINT_WKB)[:, 0]
    point = (points["order"] == 1) & ((points["kind"] & 0x0FFFFFFF) % 1000 == 1)
    return np.where(point, points["lon"], np.nan), np.where(point, points["lat"], np.nan)


def _named(types: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the column with the first of the names that exists, ignoring case."""
    lower = {name.strip().lower(): name for name in types}
    return next((lower[name] for name in names if name in lower), None)


def geometry_in(types: dict[str, str]) -> str | None:
    """Return the first column of geometries, if any."""
    for name, kind in types.items():
        if kind.startswith("GEOMETRY") or (kind == "BLOB" and name.lower() in ("geometry", "geom", "wkb")):
            return name
    return None


def _listed(names: Iterable[str], most: int = 20) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _cell_of(name: str, kind: str) -> str:
    """Return the SQL that reads a column of cells as uint64, 0 for values that are not."""
    value = quoted(name)
    if kind == "VARCHAR":  # 15 or 16 hexadecimal digits, or more decimal ones
        text = f"lower(trim({value}))"
        value = f"CASE WHEN {text} LIKE '0x%' OR length({text}) > 16 THEN {text} ELSE concat('0x', {text}) END"
    return f"COALESCE(TRY_CAST({value} AS UBIGINT), 0::UBIGINT)"


def _locate_points(lon: NDArray[np.float64], lat: NDArray[np.float64], res: int | None) -> RowLocations:
    missing = np.isnan(lon) | np.isnan(lat)
    kept = are_on_earth(lon, lat)
    lon, lat, outside = wrap_lon(lon)[kept], lat[kept], ~kept & ~missing
    left_out = {"without coordinates": int(missing.sum()), "not on Earth": int(outside.sum())}
    cells = np.empty(0, np.uint64) if res is None else grid.cells_of_points(lon, lat, res)
    return RowLocations(kept, lon, lat, cells, left_out)


def _locate_cells(cells: NDArray[np.uint64], res: int | None) -> RowLocations:
    valid = grid.are_cells(cells)
    kept = valid if res is None else valid & (grid.cell_res(cells) >= res)
    lon, lat = grid.cell_centers(cells[kept])
    left_out = {"not a cell": int((~valid).sum()), f"coarser than res {res}": int((valid & ~kept).sum())}
    ancestors = np.empty(0, np.uint64) if res is None else grid.ancestors(cells[kept], res)
    return RowLocations(kept, lon, lat, ancestors, left_out)
