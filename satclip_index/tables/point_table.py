"""The usable rows of a user's table of points, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..database import read_table, table_columns
from ..errors import TableError
from ..geo.coordinates import are_on_earth, wrap_lon
from .row_locations import TableColumns, check_columns, find_location_columns, points_of_wkb


@dataclass(frozen=True, slots=True)
class PointTable:
    """The usable rows of a table.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180], lat in [-90, 90].
    columns : dict of (n,) array
        The requested columns; no value is missing.
    dropped : dict of str to int
        Number of rows left out, by reason.
    """

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    columns: dict[str, NDArray[Any]]
    dropped: dict[str, int]


def read_points(
    path: str | Path,
    columns: Sequence[str],
    *,
    lon: str | None = None,
    lat: str | None = None,
    numbers: Sequence[str] = (),
) -> PointTable:
    """Return the rows of a table that are points on Earth and have a value in every requested column.

    Parameters
    ----------
    path : str or Path
        CSV, TSV, Parquet, GeoParquet, JSON or JSON lines.
    columns : sequence of str
        Columns to read beside the coordinates.
    lon, lat : str, optional
        Columns of degrees. By default those with usual names, ignoring case; else the points of a ``geometry`` column.
    numbers : sequence of str
        Columns to read as float64.

    Raises
    ------
    TableError
        If the file cannot be read, lacks a column, or has no usable row.
    """
    types = table_columns(path)
    check_columns(path, types, columns)
    where = find_location_columns(path, types, TableColumns(lon=lon, lat=lat), allow_cells=False)
    wanted = list(dict.fromkeys((*where.columns, *columns)))
    read = read_table(path, wanted, numbers={where.lon, where.lat, *numbers})
    x, y = points_of_wkb(*_concatenated(read[where.geometry])) if where.geometry else (read[where.lon], read[where.lat])
    return _usable(path, x, y, {name: read[name] for name in columns})


def _usable(
    path: str | Path, lon: NDArray[np.float64], lat: NDArray[np.float64], columns: dict[str, NDArray[Any]]
) -> PointTable:
    """Return the rows that have a location and every value."""
    kept = are_on_earth(lon, lat)
    dropped = {"without a point on Earth": int((~kept).sum())}
    if not kept.any():
        raise TableError(
            f"None of the {lon.size} rows of {path} is a point on Earth; expected lon and lat in degrees. "
            "Are the columns swapped, or projected?"
        )
    for name, values in columns.items():
        present = _present(values)
        dropped[f"without {name}"] = int((kept & ~present).sum())
        kept &= present
        if not kept.any():
            raise TableError(f"No row of {path} has both a point on Earth and a value of {name!r}.")
    lon = wrap_lon(lon)[kept]
    return PointTable(
        lon,
        lat[kept],
        {name: values[kept] for name, values in columns.items()},
        {reason: count for reason, count in dropped.items() if count},
    )


def _present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each value is present: not None, not blank, and finite."""
    if values.dtype.kind in "fc":
        finite: NDArray[np.bool_] = np.isfinite(values)
        return finite
    if values.dtype.kind == "O":
        return np.array([value is not None and str(value).strip() != "" for value in values], dtype=bool)
    return np.ones(values.shape, dtype=bool)


def _concatenated(wkb: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return binary values, concatenated, and the offset of each."""
    values = [b"" if value is None else bytes(value) for value in wkb]
    return np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)], dtype=np.int64)
