"""The SQL functions of an atlas, over Arrow arrays: one call computes a whole chunk of rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from ..database import numpy_of
from ..errors import CoordinateError
from ..geo import grid
from ..geo.coordinates import LAT_RANGE, LON_RANGE, are_on_earth, wrap_lon
from ..query.question import DEFAULT_K, check_k, check_km
from ..search.engine import Ranges
from ..search.like_points import PointMatches, like_points
from ..search.search_rules import SearchRules

if TYPE_CHECKING:
    import pyarrow as pa

Compute = Callable[..., tuple[Any, NDArray[np.bool_]]]
RowsWhere = Callable[[int, str], Ranges]
"""Of a resolution and an SQL condition, the rows that meet it, as ranges."""

_LIKE_FIELDS = {
    "rank": "BIGINT",
    "cell": "UBIGINT",
    "lon": "DOUBLE",
    "lat": "DOUBLE",
    "land": "BOOLEAN",
    "similarity": "FLOAT",
    "percentile": "DOUBLE",
    "distance_km": "DOUBLE",
}


@dataclass(frozen=True, slots=True)
class Function:
    """An SQL function: its name, its implementation over Arrow arrays, and its types in DuckDB."""

    name: str
    compute: Callable[..., "pa.Array"]
    parameters: Sequence[str]
    returns: str


def functions(atlas: Atlas, rows_where: RowsWhere) -> list[Function]:
    """Return the functions that the macros of :mod:`.connection` call.

    They return NULL if an argument is NULL or not a cell. For coordinates that are not on Earth, ``cell`` returns NULL;
    functions that embed or search raise CoordinateError.
    """
    vector = f"FLOAT[{atlas.manifest.dim}]"
    fields = ", ".join(f"{name} {kind}" for name, kind in _LIKE_FIELDS.items())
    point = ["DOUBLE", "DOUBLE"]
    return [
        Function("cell", _of_present(_cells), [*point, "BIGINT"], "UBIGINT"),
        Function("parent", _of_present(_parents), ["UBIGINT", "BIGINT"], "UBIGINT"),
        Function(
            "res", _of_present(lambda cells: (grid.cell_res(cells), grid.are_cells(cells))), ["UBIGINT"], "BIGINT"
        ),
        Function("lon", _of_present(lambda cells: _center(cells, 0)), ["UBIGINT"], "DOUBLE"),
        Function("lat", _of_present(lambda cells: _center(cells, 1)), ["UBIGINT"], "DOUBLE"),
        Function("embedding", _of_present(_Stored(atlas)), ["UBIGINT"], vector),
        Function("embed", _of_present(_Embed(atlas)), point, vector),
        Function("percentile", _of_present(_Percentile(atlas)), ["FLOAT", "BIGINT"], "DOUBLE"),
        Function(
            "like",
            _Like(atlas, rows_where),
            [*point, "BIGINT", "BIGINT", "DOUBLE", "DOUBLE", "BOOLEAN", "VARCHAR"],
            f"STRUCT({fields})[]",
        ),
    ]


def _of_present(compute: Compute) -> Callable[..., "pa.Array"]:
    """Return a function over Arrow arrays that calls ``compute`` with NumPy arrays of the rows without a NULL.

    ``compute`` returns values, and which of them are valid; the others become NULL.
    """

    def of_arrow(*columns: "pa.ChunkedArray") -> "pa.Array":
        import pyarrow as pa

        present = _present(columns)
        arguments = [numpy_of(column.filter(pa.array(present)).combine_chunks()) for column in columns]
        values, valid = compute(*arguments)
        out = np.zeros((present.size, *values.shape[1:]), dtype=values.dtype)
        out[present] = values
        present[present] = valid
        if out.ndim == 1:
            return pa.array(out, mask=~present)
        return pa.FixedSizeListArray.from_arrays(pa.array(out.ravel()), out.shape[1], mask=pa.array(~present))

    return of_arrow


def _present(columns: Sequence["pa.ChunkedArray"]) -> NDArray[np.bool_]:
    """Return in which rows no column is NULL."""
    present = np.ones(len(columns[0]), dtype=bool)
    for column in columns:
        if column.null_count:
            valid = column.is_valid().cast("uint8").combine_chunks()  # pyarrow's own way to NumPy imports pandas
            present &= numpy_of(valid).astype(bool)
    return present


def _cells(lon: NDArray[np.float64], lat: NDArray[np.float64], res: NDArray[np.int64]) -> Any:
    valid = are_on_earth(lon, lat) & (res >= 0) & (res <= grid.MAX_RES)
    cells = np.zeros(lat.size, dtype=np.uint64)
    for value in np.unique(res[valid]):
        at = valid & (res == value)
        cells[at] = grid.cells_of_points(lon[at], lat[at], int(value))
    return cells, valid


def _parents(cells: grid.Cells, res: NDArray[np.int64]) -> Any:
    valid = grid.are_cells(cells)
    valid[valid] = (res[valid] >= 0) & (res[valid] <= grid.cell_res(cells[valid]))
    parents = np.zeros(cells.size, dtype=np.uint64)
    for value in np.unique(res[valid]):
        at = valid & (res == value)
        parents[at] = grid.ancestors(cells[at], int(value))
    return parents, valid


def _center(cells: grid.Cells, axis: int) -> Any:
    valid = grid.are_cells(cells)
    degrees = np.zeros(cells.size)
    degrees[valid] = grid.cell_centers(cells[valid])[axis]
    return degrees, valid


@dataclass(frozen=True, slots=True)
class _Stored:
    """The stored vector of each cell of the atlas."""

    atlas: Atlas

    def __call__(self, cells: grid.Cells) -> Any:
        vectors = np.zeros((cells.size, self.atlas.manifest.dim), dtype=np.float32)
        stored = np.zeros(cells.size, dtype=bool)
        res = grid.cell_res(cells)
        for value in np.intersect1d(res, self.atlas.resolutions):
            index = self.atlas.index(int(value))
            rows = np.where(res == value, index.rows_of(cells), -1)
            vectors[rows >= 0] = index.vectors.of_rows(rows[rows >= 0])
            stored |= rows >= 0
        return vectors, stored


@dataclass(frozen=True, slots=True)
class _Embed:
    """The vector of each point itself, as an atlas would store it."""

    atlas: Atlas

    def __call__(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Any:
        from ..encoder.location_encoder import unit_half

        vectors, _ = unit_half(self.atlas.encoder.encode(*_on_earth(lon, lat)))
        return vectors, np.ones(lon.size, dtype=bool)


@dataclass(frozen=True, slots=True)
class _Percentile:
    """The percentage of random pairs of land cells that are less similar."""

    atlas: Atlas

    def __call__(self, similarity: NDArray[np.float32], res: NDArray[np.int64]) -> Any:
        percentile = np.zeros(similarity.size)
        for value in np.unique(res):
            at = res == value
            percentile[at] = self.atlas.manifest.entry(int(value)).percentile(similarity[at])
        return percentile, ~np.isnan(similarity)


class _LikeArguments(NamedTuple):
    """The arguments of ``places_like`` in one row, but for the point: None for NULL."""

    k: int | None
    res: int | None
    exclude_within_km: float | None
    apart_km: float | None
    ocean: bool | None
    condition: str | None


@dataclass(frozen=True, slots=True)
class _Like:
    """The places like each point: a list of structs for each row, empty where the point is NULL."""

    atlas: Atlas
    rows_where: RowsWhere

    def __call__(self, lon: "pa.ChunkedArray", lat: "pa.ChunkedArray", *columns: "pa.ChunkedArray") -> "pa.Array":
        import pyarrow as pa

        present = np.flatnonzero(_present((lon, lat)))
        x, y = _on_earth(*(numpy_of(column.take(pa.array(present)).combine_chunks()) for column in (lon, lat)))
        # Rows with equal arguments are searched together: nearly always all rows of a chunk.
        groups: dict[_LikeArguments, list[int]] = {}
        values = zip(*(column.take(pa.array(present)).to_pylist() for column in columns), strict=True)
        for at, arguments in enumerate(map(_LikeArguments._make, values)):
            groups.setdefault(arguments, []).append(at)
        count = np.zeros(len(lon), dtype=np.int64)
        parts, order = [], []
        for arguments, members in groups.items():
            matches, fields = self._search(x[members], y[members], arguments)
            count[present[members]] = matches.count
            parts.append(fields)
            order.append(np.repeat(present[members], matches.count))
        back = np.argsort(np.concatenate(order or [present]), kind="stable")
        arrays = [
            pa.array(np.concatenate([part[name] for part in parts] or [np.empty(0)])[back]).cast(_arrow_type(kind))
            for name, kind in _LIKE_FIELDS.items()
        ]
        offsets = pa.array(np.concatenate([[0], np.cumsum(count)]), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, list(_LIKE_FIELDS)))

    def _search(
        self, lon: NDArray[np.float64], lat: NDArray[np.float64], arguments: _LikeArguments
    ) -> tuple[PointMatches, dict[str, NDArray[Any]]]:
        """Return the matches of points that have the same arguments, and the fields of their structs."""
        index = self.atlas.index(arguments.res)
        apart_km = check_km("apart_km", arguments.apart_km)
        condition = arguments.condition
        rows = None if condition is None else self.rows_where(index.res, condition)
        rules = SearchRules(
            k=check_k(arguments.k) or DEFAULT_K,
            exclude_within_km=check_km("exclude_within_km", arguments.exclude_within_km),
            apart_km=apart_km,
            ocean=bool(arguments.ocean),
        )
        matches = like_points(self.atlas, index.res, lon, lat, rules, rows=rows)
        cell = index.cells[matches.row]
        to_lon, to_lat = grid.cell_centers(cell)
        fields = {
            "rank": matches.rank,
            "cell": cell,
            "lon": to_lon,
            "lat": to_lat,
            "land": index.tree.rows.land[matches.row].astype(bool),
            "similarity": matches.similarity,
            "percentile": self.atlas.manifest.entry(index.res).percentile(matches.similarity),
            "distance_km": matches.distance_km,
        }
        return matches, fields


def _on_earth(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates with lon in [-180, 180], or raise CoordinateError, which names no row: chunks hide them."""
    for values, name, low, high in ((lat, "lat", *LAT_RANGE), (lon, "lon", *LON_RANGE)):
        bad = values[~((values >= low) & (values <= high))]
        if bad.size:
            raise CoordinateError(
                f"A {name} of {bad[0]:g} is outside [{low}, {high}]. Arguments are lon, lat in degrees: are they "
                f"swapped? Leave such rows out with WHERE {name} BETWEEN {low} AND {high}."
            )
    return wrap_lon(lon), lat.copy()  # torch needs writable arrays


def _arrow_type(kind: str) -> "pa.DataType":
    import pyarrow as pa

    types = {
        "BIGINT": pa.int64(),
        "UBIGINT": pa.uint64(),
        "DOUBLE": pa.float64(),
        "FLOAT": pa.float32(),
        "BOOLEAN": pa.bool_(),
    }
    return types[kind]
