"""A table with added columns, as a stream in memory that does not grow with the table."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..concurrency import Out, in_order, processors
from ..database import Answer, quoted
from ..errors import TableError
from ..formats.answers import annotated
from ..formats.columns import CELL, marked
from ..formats.streams import Geometries, format_of, whole_file, write_batches
from ..geo import grid
from ..progress import Progress
from ..storage.geoparquet import arrow_array
from ._join_columns import JoinColumns, names_beside
from .row_locations import LocationColumns, RowLocations, geometry_in
from .source import Source, portable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


_BATCH_ROWS = 65_536
_MOST_WORKERS = 4  # each has a batch or two in memory
_MOST_WAITING = 16  # batches kept until a row has a location
_HINTS = {
    "not on Earth": "lat outside [-90, 90] or lon outside [-180, 360]: are lon and lat swapped, or projected?",
    "not a cell": "expected whole numbers or hexadecimal text",
    "coarser than res": "descendants, or a coarser res, would place them",
}


@dataclass(frozen=True, slots=True)
class _SourceBatch:
    """Some rows: their numbers in the table, the expressions their locations are read from, and their columns."""

    row: NDArray[np.int64]
    expressions: "list[pa.Array]"
    columns: "pa.RecordBatch"


@dataclass
class Joined:
    """A table with added columns; it is read lazily.

    All rows and columns of the table are kept, in their order and with their names. A row without a location gets NULL
    in the added columns and is counted in ``left_out``. An added column whose name the table already has, ignoring
    case, gets the prefix ``satclip_``.

    Attributes
    ----------
    source : Source
        The table.
    location : LocationColumns
        The columns with the location of a row.
    added : JoinColumns
        The added columns.
    res : int or None
        The resolution of the cells; None if only points are used.
    geometry : {"point", "polygon", "none"} or None
        Add the point of the row or the boundary of the cell; None adds a point if the output format has geometries and
        the table has none.
    strict : bool
        Raise TableError for a row without a location.
    descendants : bool
        Repeat a row of a coarser cell for each of its descendants at the resolution.
    like : tuple of str
        Descriptions of the places that similarities are to.
    rows : int
        Number of rows read so far.
    left_out : dict of str to int
        Number of rows without a location so far, by reason.
    """

    source: Source
    location: LocationColumns
    added: JoinColumns
    res: int | None = None
    geometry: str | None = None
    strict: bool = False
    descendants: bool = False
    like: tuple[str, ...] = ()
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def to_reader(self, progress: Progress | None = None) -> "pa.RecordBatchReader":
        """Return the rows as a stream of Arrow record batches; geometries are WKB."""
        return self._reader(self.geometry or "none", progress)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> "pa.Table":
        """Return all rows as an Arrow table, in memory."""
        return self.to_reader().read_all()

    def to_pandas(self) -> "pd.DataFrame":
        """Return all rows as a pandas data frame, in memory (pandas must be installed)."""
        return self.to_arrow().to_pandas()

    def write(
        self, target: str | Path | IO[bytes], format: str | None = None, *, progress: Progress | None = None
    ) -> None:
        """Write all rows to a file, which appears whole or not at all, or to an open binary file.

        Parameters
        ----------
        target : str, Path or binary file
            Where.
        format : {"csv", "jsonl", "json", "geojson", "parquet"}, optional
            By default what the file's name says. Text formats have cells as hexadecimal text and geometries as WKT;
            Parquet is GeoParquet 1.1 wherever there is a geometry.
        progress : function of (done, total), optional
            Called with rows read so far and in all.

        Raises
        ------
        OutputError
            If it cannot be written, or is the table itself.
        TableError
            If no row has a place, or a row has none and ``strict`` is set.
        QueryError
            If the table fails while it is read.
        """
        kind = format_of(target, format)
        theirs = geometry_in(self.source.types)
        geometry = self.geometry or ("point" if kind in ("parquet", "geojson") and not theirs else "none")
        ours = names_beside(self.added.columns(_no_locations(), geometry), self.source.types)
        kinds = {"point": "Point", "polygon": "Polygon"}
        held = Geometries(ours.get("geometry", theirs), theirs, kinds.get(geometry), _is_projected(self.source, theirs))
        as_halves = kind == "parquet" and self.added.halves and "embedding" in ours
        halves = {ours["embedding"]: self.added.dim} if as_halves else {}
        whole = whole_file(Path(target), self.source.name) if isinstance(target, str | Path) else nullcontext(target)
        with whole as file:
            answer = self._read_source()

            def batches(then: "Callable[[pa.RecordBatch], Any]") -> Iterator[Any]:
                return self._results(answer, geometry, progress, then, halves=as_halves)

            write_batches(self._schema(answer, geometry), batches, file, kind, held, halves)

    def remark(self) -> str:
        """Return a line with the number of rows without a location, by reason; empty if there are none."""
        if not self.left_out:
            return ""
        return f"{sum(self.left_out.values()):,} of {self.rows:,} rows could not be placed: {_reasons(self.left_out)}."

    def _read_source(self) -> "pa.RecordBatchReader":
        """Return every row: the expressions its location is read from, then its columns."""
        import pyarrow as pa

        types = self.source.types
        expressions = [f"{sql} AS {quoted(f'{i} (satclip-index)')}" for i, sql in enumerate(self.location.sql(types))]
        columns = [f"{portable(name, kind, geometry='ST_AsWKB')} AS {quoted(name)}" for name, kind in types.items()]
        query = f"SELECT {', '.join(expressions + columns)} FROM numbered"
        found = Answer(self.source.cursor(), query)
        reader = found.to_arrow_reader(_BATCH_ROWS)
        fields = [annotated(field, kind) for field, kind in zip(reader.schema, found.types, strict=True)]
        return pa.RecordBatchReader.from_batches(pa.schema(fields), reader)

    def _schema(self, answer: "pa.RecordBatchReader", geometry: str) -> "pa.Schema":
        import pyarrow as pa

        fields = list(answer.schema)[len(answer.schema) - len(self.source.types) :]
        added = self.added.columns(_no_locations(), geometry)
        names = names_beside(added, self.source.types)
        fields += [
            marked(field, CELL) if name == "cell" else field
            for name, field in ((name, pa.field(names[name], column.type)) for name, column in added.items())
        ]
        about = {"like": list(self.like), "res": self.res}
        return pa.schema(fields, metadata={"satclip_index": json.dumps(about)})

    def _reader(self, geometry: str, progress: Progress | None) -> "pa.RecordBatchReader":
        import pyarrow as pa

        answer = self._read_source()
        schema = self._schema(answer, geometry)
        batches = self._results(answer, geometry, progress, lambda batch: batch.cast(schema))
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _results(
        self,
        answer: "pa.RecordBatchReader",
        geometry: str,
        progress: Progress | None,
        then: "Callable[[pa.RecordBatch], Out]",
        *,
        halves: bool = False,
    ) -> Iterator[Out]:
        """Yield ``then`` of every batch with its added columns, in order, and count rows; batches run in parallel."""
        self.rows, left_out, waiting, placed = 0, Counter[str](), deque[Out](), 0
        self.left_out = {}

        def complete(batch: _SourceBatch) -> tuple[_SourceBatch, RowLocations, Out]:
            locations = self.location.locate(batch.expressions, self.res)
            return batch, locations, then(self._with_columns(batch.columns, locations, geometry, halves))

        workers = min(_MOST_WORKERS, processors())
        for batch, locations, result in in_order(complete, self._source_batches(answer, progress), workers=workers):
            if self.strict and not locations.kept.all():
                first = int(np.flatnonzero(~locations.kept)[0])
                alone = self.location.locate([column.slice(first, 1) for column in batch.expressions], self.res)
                reason = _reasons({reason: count for reason, count in alone.left_out.items() if count})
                raise TableError(f"Row {batch.row[first] + 1:,} of {self.source.name} has no place: {reason}.")
            self.rows += locations.kept.size
            left_out.update(locations.left_out)
            self.left_out = {reason: count for reason, count in left_out.items() if count}
            placed += int(locations.kept.sum())
            waiting.append(result)
            while waiting and (placed or len(waiting) > _MOST_WAITING):
                yield waiting.popleft()
        if self.rows and not placed:
            raise TableError(
                f"None of the {self.rows:,} rows of {self.source.name} could be placed: {_reasons(self.left_out)}."
            )
        yield from waiting

    def _source_batches(self, answer: "pa.RecordBatchReader", progress: Progress | None) -> Iterator[_SourceBatch]:
        """Yield the rows in batches; with ``descendants``, rows of coarser cells are repeated."""
        width, done = len(answer.schema) - len(self.source.types), 0
        for batch in answer:
            expressions, columns = batch.columns[:width], batch.select(range(width, batch.num_columns))
            row = np.arange(done, done + batch.num_rows)
            done += batch.num_rows
            if progress and self.source.rows:
                progress(done, self.source.rows)
            if not (self.descendants and self.location.cell and self.res is not None):
                yield _SourceBatch(row, expressions, columns)
                continue
            for rows, cells in descend(np.asarray(np.from_dlpack(expressions[0])), self.res):
                yield _SourceBatch(row[rows], [arrow_array(cells)], columns.take(arrow_array(rows)))

    def _with_columns(
        self, batch: "pa.RecordBatch", locations: RowLocations, geometry: str, halves: bool
    ) -> "pa.RecordBatch":
        import pyarrow as pa

        added = self.added.columns(locations, geometry, halves=halves)
        names = names_beside(added, self.source.types)
        columns = [_fill_with_null(column, locations.kept) for column in added.values()]
        return pa.RecordBatch.from_arrays([*batch.columns, *columns], [*batch.schema.names, *names.values()])


def descend(
    cells: NDArray[np.uint64], res: int, most: int = _BATCH_ROWS
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Yield the descendants of cells at a resolution in order, about ``most`` at a time: cell numbers and descendants.

    Finer cells, and values that are not cells, are yielded as they are.
    """
    coarser = grid.are_cells(cells) & (grid.cell_res(cells) < res)
    count = np.where(coarser, 7.0 ** (res - grid.cell_res(cells)), 1.0)
    slices = np.flatnonzero(np.diff((np.cumsum(count) - 1) // most)) + 1
    for rows in np.split(np.arange(cells.size), slices):
        if rows.size and count[rows[0]] > most:  # only the first of a slice can be so large
            children = grid.descendants_of_each(cells[rows[:1]], int(grid.cell_res(cells[rows[:1]])[0]) + 1)[1]
            for _, below in descend(children, res, most):
                yield np.full(below.size, rows[0]), below
            rows = rows[1:]
        if rows.size:
            of, below = np.arange(rows.size), cells[rows].copy()
            large = coarser[rows]
            of_large, below_large = grid.descendants_of_each(below[large], res)
            of = np.concatenate([of[~large], of[large][of_large]])
            below = np.concatenate([below[~large], below_large])
            order = np.argsort(of, kind="stable")
            yield rows[of[order]], below[order]


def _is_projected(source: Source, geometry: str | None) -> bool:
    """Return whether a geometry's type names a coordinate reference system other than WGS84 degrees."""
    kind = source.types[geometry] if geometry else ""
    return "(" in kind and "CRS84" not in kind and "4326" not in kind


def _no_locations() -> RowLocations:
    empty = np.empty(0)
    return RowLocations(np.empty(0, bool), empty, empty, np.empty(0, np.uint64), {})


def _fill_with_null(column: "pa.Array", kept: NDArray[np.bool_]) -> "pa.Array":
    """Return values of the rows that are kept as values of all rows, with NULL for the others."""
    return column if kept.all() else column.take(arrow_array(np.maximum(np.cumsum(kept) - 1, 0), kept))


def _reasons(left_out: dict[str, int]) -> str:
    reasons = []
    for reason, count in left_out.items():
        hint = next((f" ({hint})" for start, hint in _HINTS.items() if reason.startswith(start)), "")
        reasons.append(f"{count:,} {reason}{hint}")
    return ", ".join(reasons)
