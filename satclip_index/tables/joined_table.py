"""A table with columns added to it: read, completed and handed on as a stream, in memory that does not grow."""

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
from ..formats.streams import Geometries, format_of, whole_file, write_batches
from ..geo import grid
from ..progress import Progress
from ..storage.geoparquet import arrow_array
from ._join_columns import Added, names_beside
from .row_locations import Located, Position, geometry_in
from .source import Source, portable

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


_BATCH_ROWS = 65_536
_MOST_WORKERS = 4  # each holds a batch or two
_HELD_BACK = 16  # batches that wait for the first row that has a place
_HINTS = {
    "not on Earth": "lat outside [-90, 90] or lon outside [-180, 360]: are lon and lat swapped, or projected?",
    "not a cell": "expected whole numbers or hexadecimal text",
    "coarser than res": "descendants, or a coarser res, would place them",
}


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some rows: their numbers in the table, what their positions are found from, and the table's columns."""

    row: NDArray[np.int64]
    where: "list[pa.Array]"
    batch: "pa.RecordBatch"


@dataclass
class Joined:
    """A table with columns added; nothing is read before it is asked for.

    All of the table's rows and columns are kept, in their order and with their names. A row without a place has NULL in
    the columns that are added, and is counted in ``left_out``. A column whose name the table has already, in any case,
    gets the prefix ``satclip_``.

    Attributes
    ----------
    source : Source
        The table.
    position : Position
        The columns that say where a row is.
    added : Added
        What is added.
    res : int or None
        The resolution of the cells; None where points alone count.
    geometry : {"point", "polygon", "none"} or None
        Of the row's place, or the cell's boundary; None for a point where the format has geometries and the table none.
    strict : bool
        Whether a row without a place is an error.
    descendants : bool
        Whether a row of a coarser cell is repeated for each descendant of the resolution.
    like : tuple of str
        What was taken for the places that similarities are to.
    rows : int
        Rows that were read, so far.
    left_out : dict of str to int
        Why rows have no place, and how many, so far.
    """

    source: Source
    position: Position
    added: Added
    res: int | None = None
    geometry: str | None = None
    strict: bool = False
    descendants: bool = False
    like: tuple[str, ...] = ()
    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def to_reader(self, progress: Progress | None = None) -> "pa.RecordBatchReader":
        """Return the rows as Arrow record batches, made as they are read; geometries are WKB."""
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
        ours = names_beside(self.added.columns(_nowhere(), geometry), self.source.types)
        kinds = {"point": "Point", "polygon": "Polygon"}
        held = Geometries(ours.get("geometry", theirs), theirs, kinds.get(geometry), _is_projected(self.source, theirs))
        as_halves = kind == "parquet" and self.added.halves and "embedding" in ours
        halves = {ours["embedding"]: self.added.dim} if as_halves else {}
        whole = whole_file(Path(target), self.source.name) if isinstance(target, str | Path) else nullcontext(target)
        with whole as file:
            answer = self._answer()

            def batches(then: "Callable[[pa.RecordBatch], Any]") -> Iterator[Any]:
                return self._results(answer, geometry, progress, then, halves=as_halves)

            write_batches(self._schema(answer, geometry), batches, file, kind, held, halves)

    def remark(self) -> str:
        """Return one line that says how many rows have no place, and why; nothing where all have one."""
        if not self.left_out:
            return ""
        return f"{sum(self.left_out.values()):,} of {self.rows:,} rows could not be placed: {_reasons(self.left_out)}."

    def _answer(self) -> "pa.RecordBatchReader":
        """Return every row: what its position is found from, then its columns."""
        types = self.source.types
        where = [f"{sql} AS {quoted(f'{i} (satclip-index)')}" for i, sql in enumerate(self.position.sql(types))]
        columns = [f"{portable(name, kind, geometry='ST_AsWKB')} AS {quoted(name)}" for name, kind in types.items()]
        query = f"SELECT {', '.join(where + columns)} FROM numbered"
        return Answer(self.source.cursor(), query).to_arrow_reader(_BATCH_ROWS)

    def _schema(self, answer: "pa.RecordBatchReader", geometry: str) -> "pa.Schema":
        import pyarrow as pa

        fields = list(answer.schema)[len(answer.schema) - len(self.source.types) :]
        ours = self.added.columns(_nowhere(), geometry)
        given = names_beside(ours, self.source.types)
        fields += [pa.field(given[name], column.type) for name, column in ours.items()]
        about = {"like": list(self.like), "res": self.res}
        return pa.schema(fields, metadata={"satclip_index": json.dumps(about)})

    def _reader(self, geometry: str, progress: Progress | None) -> "pa.RecordBatchReader":
        import pyarrow as pa

        answer = self._answer()
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
        """Yield what becomes of every batch, in order, and count; batches are worked on side by side."""
        self.rows, left_out, waiting, placed = 0, Counter[str](), deque[Out](), 0
        self.left_out = {}

        def complete(piece: _Piece) -> tuple[_Piece, Located, Out]:
            places = self.position.locate(piece.where, self.res)
            return piece, places, then(self._with_columns(piece.batch, places, geometry, halves))

        workers = min(_MOST_WORKERS, processors())
        for piece, places, result in in_order(complete, self._pieces(answer, progress), workers=workers):
            if self.strict and not places.kept.all():
                first = int(np.flatnonzero(~places.kept)[0])
                alone = self.position.locate([column.slice(first, 1) for column in piece.where], self.res)
                reason = _reasons({reason: count for reason, count in alone.left_out.items() if count})
                raise TableError(f"Row {piece.row[first] + 1:,} of {self.source.name} has no place: {reason}.")
            self.rows += places.kept.size
            left_out.update(places.left_out)
            self.left_out = {reason: count for reason, count in left_out.items() if count}
            placed += int(places.kept.sum())
            waiting.append(result)
            while waiting and (placed or len(waiting) > _HELD_BACK):
                yield waiting.popleft()
        if self.rows and not placed:
            raise TableError(
                f"None of the {self.rows:,} rows of {self.source.name} could be placed: {_reasons(self.left_out)}."
            )
        yield from waiting

    def _pieces(self, answer: "pa.RecordBatchReader", progress: Progress | None) -> "Iterator[_Piece]":
        """Yield the rows in batches, those of coarser cells repeated if asked for."""
        width, done = len(answer.schema) - len(self.source.types), 0
        for batch in answer:
            where, columns = batch.columns[:width], batch.select(range(width, batch.num_columns))
            row = np.arange(done, done + batch.num_rows)
            done += batch.num_rows
            if progress and self.source.rows:
                progress(done, self.source.rows)
            if not (self.descendants and self.position.cell and self.res is not None):
                yield _Piece(row, where, columns)
                continue
            for rows, cells in descend(np.asarray(np.from_dlpack(where[0])), self.res):
                yield _Piece(row[rows], [arrow_array(cells)], columns.take(arrow_array(rows)))

    def _with_columns(self, batch: "pa.RecordBatch", places: Located, geometry: str, halves: bool) -> "pa.RecordBatch":
        import pyarrow as pa

        ours = self.added.columns(places, geometry, halves=halves)
        given = names_beside(ours, self.source.types)
        columns = [_spread(column, places.kept) for column in ours.values()]
        return pa.RecordBatch.from_arrays([*batch.columns, *columns], [*batch.schema.names, *given.values()])


def descend(
    cells: NDArray[np.uint64], res: int, most: int = _BATCH_ROWS
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Yield the descendants of cells at a resolution and which cell each is of, about so many at a time, in order.

    What is no cell, or finer, is yielded as it is.
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
    """Return whether a geometry's type names a system of coordinates, and not that of degrees."""
    kind = source.types[geometry] if geometry else ""
    return "(" in kind and "CRS84" not in kind and "4326" not in kind


def _nowhere() -> Located:
    nothing = np.empty(0)
    return Located(np.empty(0, bool), nothing, nothing, np.empty(0, np.uint64), {})


def _spread(column: "pa.Array", kept: NDArray[np.bool_]) -> "pa.Array":
    """Return values of the rows that are kept as values of all, with NULL for the others."""
    return column if kept.all() else column.take(arrow_array(np.maximum(np.cumsum(kept) - 1, 0), kept))


def _reasons(left_out: dict[str, int]) -> str:
    said = []
    for reason, count in left_out.items():
        hint = next((f" ({hint})" for start, hint in _HINTS.items() if reason.startswith(start)), "")
        said.append(f"{count:,} {reason}{hint}")
    return ", ".join(said)
