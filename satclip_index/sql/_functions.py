"""What SQL asks of an atlas: functions over Arrow arrays, one call for a whole chunk of rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from ..database import numpy_of
from ..errors import CoordinateError
from ..geo import grid, sphere
from ..geo.coordinates import LAT_RANGE, LON_RANGE, are_on_earth, wrap_lon
from ..query.question import DEFAULT_K, check_k, check_km
from ..search.engine import Filter, Ranges
from ..search.like_points import Lookalikes, like_points

if TYPE_CHECKING:
    import pyarrow as pa

Compute = Callable[..., tuple[Any, NDArray[np.bool_]]]
RowsWhere = Callable[[int, str], Ranges]
"""The rows of a resolution of which a condition in SQL holds, as ranges."""

_FOUND = {
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
    """A function as DuckDB takes it: its name, what computes it from Arrow arrays, and DuckDB's types."""

    name: str
    compute: Callable[..., "pa.Array"]
    parameters: Sequence[str]
    returns: str


def functions(atlas: Atlas, rows_where: RowsWhere) -> list[Function]:
    """Return the functions that the macros of :mod:`.sql` are made of.

    NULL among the arguments gives NULL, and so does what is no cell; coordinates that are not on Earth do so where a
    cell is asked for, and raise CoordinateError where something is embedded or searched.
    """
    vector = f"FLOAT[{atlas.manifest.dim}]"
    found = ", ".join(f"{name} {kind}" for name, kind in _FOUND.items())
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
            f"STRUCT({found})[]",
        ),
    ]


def _of_present(compute: Compute) -> Callable[..., "pa.Array"]:
    """Call a function with NumPy arrays of the rows of which no argument is NULL; the others give NULL.

    It returns values and which of them are there.
    """

    def of_arrow(*columns: "pa.ChunkedArray") -> "pa.Array":
        import pyarrow as pa

        present = _present(columns)
        given = [numpy_of(column.filter(pa.array(present)).combine_chunks()) for column in columns]
        values, there = compute(*given)
        out = np.zeros((present.size, *values.shape[1:]), dtype=values.dtype)
        out[present] = values
        present[present] = there
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
    there = are_on_earth(lon, lat) & (res >= 0) & (res <= grid.MAX_RES)
    cells = np.zeros(lat.size, dtype=np.uint64)
    for one in np.unique(res[there]):
        at = there & (res == one)
        cells[at] = grid.cells_of_points(lon[at], lat[at], int(one))
    return cells, there


def _parents(cells: grid.Cells, res: NDArray[np.int64]) -> Any:
    there = grid.are_cells(cells)
    there[there] = (res[there] >= 0) & (res[there] <= grid.cell_res(cells[there]))
    parents = np.zeros(cells.size, dtype=np.uint64)
    for one in np.unique(res[there]):
        at = there & (res == one)
        parents[at] = grid.ancestors(cells[at], int(one))
    return parents, there


def _center(cells: grid.Cells, axis: int) -> Any:
    there = grid.are_cells(cells)
    degrees = np.zeros(cells.size)
    degrees[there] = grid.cell_centers(cells[there])[axis]
    return degrees, there


@dataclass(frozen=True, slots=True)
class _Stored:
    """The stored vector of each cell of the atlas."""

    atlas: Atlas

    def __call__(self, cells: grid.Cells) -> Any:
        vectors = np.zeros((cells.size, self.atlas.manifest.dim), dtype=np.float32)
        there = np.zeros(cells.size, dtype=bool)
        res = grid.cell_res(cells)
        for one in np.intersect1d(res, self.atlas.resolutions):
            index = self.atlas.index(int(one))
            rows = np.where(res == one, index.rows_of(cells), -1)
            vectors[rows >= 0] = index.vectors.of_rows(rows[rows >= 0])
            there |= rows >= 0
        return vectors, there


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
    """The share of random pairs of land cells that are less alike."""

    atlas: Atlas

    def __call__(self, similarity: NDArray[np.float32], res: NDArray[np.int64]) -> Any:
        found = np.zeros(similarity.size)
        for one in np.unique(res):
            at = res == one
            found[at] = self.atlas.manifest.entry(int(one)).percentile(similarity[at])
        return found, ~np.isnan(similarity)


@dataclass(frozen=True, slots=True)
class _Like:
    """The places like each point: a list of structs for each row, empty where the point is NULL."""

    atlas: Atlas
    rows_where: RowsWhere

    def __call__(self, lon: "pa.ChunkedArray", lat: "pa.ChunkedArray", *rules: "pa.ChunkedArray") -> "pa.Array":
        import pyarrow as pa

        asked = np.flatnonzero(_present((lon, lat)))
        x, y = _on_earth(*(numpy_of(column.take(pa.array(asked)).combine_chunks()) for column in (lon, lat)))
        # Rows that ask alike are searched for together: nearly always all of a chunk.
        alike: dict[tuple[Any, ...], list[int]] = {}
        for at, rule in enumerate(zip(*(column.take(pa.array(asked)).to_pylist() for column in rules), strict=True)):
            alike.setdefault(rule, []).append(at)
        count = np.zeros(len(lon), dtype=np.int64)
        parts, order = [], []
        for rule, members in alike.items():
            found, columns = self._ask(x[members], y[members], *rule)
            count[asked[members]] = found.count
            parts.append(columns)
            order.append(np.repeat(asked[members], found.count))
        back = np.argsort(np.concatenate(order or [asked]), kind="stable")
        made = [
            pa.array(np.concatenate([part[name] for part in parts] or [np.empty(0)])[back]).cast(_arrow_type(kind))
            for name, kind in _FOUND.items()
        ]
        offsets = pa.array(np.concatenate([[0], np.cumsum(count)]), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(made, list(_FOUND)))

    def _ask(
        self,
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
        k: int | None,
        res: int | None,
        exclude_within_km: float | None,
        apart_km: float | None,
        ocean: bool | None,
        condition: str | None,
    ) -> tuple[Lookalikes, dict[str, NDArray[Any]]]:
        """Return what points that ask alike are answered, and the columns of it."""
        index = self.atlas.index(res)
        apart_rad = check_km("apart_km", apart_km) / sphere.EARTH_RADIUS_KM
        ranges = None if condition is None else self.rows_where(index.res, condition)
        found = like_points(
            index,
            self.atlas.vectors_of,
            lon,
            lat,
            k=check_k(k) or DEFAULT_K,
            exclude_within_km=check_km("exclude_within_km", exclude_within_km),
            where=Filter(land_only=not ocean, apart_rad=apart_rad, ranges=ranges),
        )
        cell = index.cells[found.row]
        to_lon, to_lat = grid.cell_centers(cell)
        columns = {
            "rank": found.rank,
            "cell": cell,
            "lon": to_lon,
            "lat": to_lat,
            "land": index.tree.rows.land[found.row].astype(bool),
            "similarity": found.similarity,
            "percentile": self.atlas.manifest.entry(index.res).percentile(found.similarity),
            "distance_km": found.distance_km,
        }
        return found, columns


def _on_earth(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates with lon in [-180, 180], or raise CoordinateError: not by row, which is one of a chunk."""
    for values, name, low, high in ((lat, "lat", *LAT_RANGE), (lon, "lon", *LON_RANGE)):
        bad = values[~((values >= low) & (values <= high))]
        if bad.size:
            raise CoordinateError(
                f"A {name} of {bad[0]:g} is outside [{low}, {high}]. Arguments are lon, lat in degrees: are they "
                f"swapped? Leave such rows out with WHERE {name} BETWEEN {low} AND {high}."
            )
    return wrap_lon(lon), lat.copy()  # torch wants arrays that can be written to


def _arrow_type(kind: str) -> "pa.DataType":
    import pyarrow as pa

    made = {
        "BIGINT": pa.int64(),
        "UBIGINT": pa.uint64(),
        "DOUBLE": pa.float64(),
        "FLOAT": pa.float32(),
        "BOOLEAN": pa.bool_(),
    }
    return made[kind]
