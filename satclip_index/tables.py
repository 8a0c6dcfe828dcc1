"""A user's table of points: where its coordinates are, and which of its rows can be used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import TableError
from .sql import read_table, table_columns

LON_NAMES = ("lon", "lng", "long", "longitude", "x")
LAT_NAMES = ("lat", "latitude", "y")
_POINT_WKB = np.dtype([("order", "u1"), ("kind", "<u4"), ("lon", "<f8"), ("lat", "<f8")])


@dataclass(frozen=True, slots=True)
class PointTable:
    """The usable rows of a table.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180], lat in [-90, 90].
    columns : dict of (n,) array
        What was asked for; no value is missing.
    dropped : dict of str to int
        Why rows were left out, and how many.
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
    """Return the rows of a table that are points on Earth and have a value in every column asked for.

    Parameters
    ----------
    path : str or Path
        CSV, TSV, Parquet, GeoParquet, JSON or JSON lines.
    columns : sequence of str
        Columns to read beside the coordinates.
    lon, lat : str, optional
        Columns of degrees. By default those with the usual names, in any case; else the points of a ``geometry``
        column.
    numbers : sequence of str
        Columns to be read as float64.

    Raises
    ------
    TableError
        If the file cannot be read, lacks a column, or no row is left.
    """
    types = table_columns(path)
    for name in (*columns, *filter(None, (lon, lat))):
        if name not in types:
            raise TableError(f"{path} has no column {name!r}; it has {_listed(types)}.")
    east, north = lon or _named(types, LON_NAMES), lat or _named(types, LAT_NAMES)
    geometry = _geometry(types)
    if east and north:
        wanted = dict.fromkeys((east, north, *columns))
        read = read_table(path, list(wanted), numbers={east, north, *numbers})
        x, y = read[east], read[north]
    elif geometry:
        read = read_table(path, list(dict.fromkeys((geometry, *columns))), numbers=set(numbers))
        x, y = _points(read[geometry])
    else:
        raise TableError(
            f"{path} has no coordinates that can be found; name them with --lon and --lat: {_listed(types)}."
        )
    return _usable(path, x, y, {name: read[name] for name in columns})


def _usable(
    path: str | Path, lon: NDArray[np.float64], lat: NDArray[np.float64], columns: dict[str, NDArray[Any]]
) -> PointTable:
    """Leave out what has no place or no value."""
    kept = (lon >= -180) & (lon <= 360) & (lat >= -90) & (lat <= 90)  # false for NaN
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
    lon = np.where(lon > 180, lon - 360, lon)[kept]
    return PointTable(
        lon,
        lat[kept],
        {name: values[kept] for name, values in columns.items()},
        {reason: count for reason, count in dropped.items() if count},
    )


def _present(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return whether each value is there: neither None, nor not finite, nor blank."""
    if values.dtype.kind in "fc":
        finite: NDArray[np.bool_] = np.isfinite(values)
        return finite
    if values.dtype.kind == "O":
        return np.array([value is not None and str(value).strip() != "" for value in values], dtype=bool)
    return np.ones(values.shape, dtype=bool)


def _named(types: Iterable[str], names: Sequence[str]) -> str | None:
    """Return the column with the first of the names that there is, in any case."""
    lower = {name.strip().lower(): name for name in types}
    return next((lower[name] for name in names if name in lower), None)


def _geometry(types: dict[str, str]) -> str | None:
    for name, kind in types.items():
        if kind.startswith("GEOMETRY") or (kind == "BLOB" and name.lower() in ("geometry", "geom", "wkb")):
            return name
    return None


def _points(wkb: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lon and lat of little-endian WKB points; NaN for anything else."""
    nothing = b"\x00" * _POINT_WKB.itemsize
    whole = [bytes(value) if value is not None and len(value) == len(nothing) else nothing for value in wkb]
    points = np.frombuffer(b"".join(whole), dtype=_POINT_WKB)
    point = (points["order"] == 1) & (points["kind"] == 1)
    return np.where(point, points["lon"], np.nan), np.where(point, points["lat"], np.nan)


def _listed(names: Iterable[str], most: int = 20) -> str:
    given = list(names)
    return ", ".join(given[:most]) + (f" and {len(given) - most} more" if len(given) > most else "")
