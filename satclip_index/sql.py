"""DuckDB over an atlas: every cell as a row, every embedding as a column."""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from .atlas import Atlas, open_atlas
from .errors import QueryError, TableError
from .formats import Row

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_ROWS = 8192
_READERS = {
    ".csv": "read_csv({}, sample_size = -1)",
    ".tsv": "read_csv({}, sample_size = -1)",
    ".parquet": "read_parquet({})",
    ".geoparquet": "read_parquet({})",
    ".json": "read_json({}, sample_size = -1)",
    ".jsonl": "read_json({}, sample_size = -1)",
    ".ndjson": "read_json({}, sample_size = -1)",
}


def connect(atlas: "str | Path | Atlas" = "atlas", *, database: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the atlas as view ``cells``.

    Parameters
    ----------
    atlas : str, Path or Atlas
        The atlas, or its folder.
    database : str
        A DuckDB file to work in, or ``:memory:``.

    Returns
    -------
    duckdb.DuckDBPyConnection
        ``cells`` has columns res UTINYINT, cell UBIGINT, lon, lat DOUBLE, land BOOLEAN, norm FLOAT, embedding
        FLOAT[dim]; ``array_inner_product`` of two embeddings is their similarity. CSV, JSON and Parquet files are
        tables by their name in quotes.

    Raises
    ------
    AtlasNotFoundError, CorruptAtlasError
        As :func:`open_atlas`.
    """
    atlas = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    parts = []
    for res in atlas.resolutions:
        files = ", ".join(_file_literal(atlas.path / file) for file in atlas.manifest.cell_files(res))
        parts.append(
            f"SELECT {res}::UTINYINT AS res, cell, lon, lat, land, norm, "
            f"embedding::FLOAT[{atlas.manifest.dim}] AS embedding FROM read_parquet([{files}])"
        )
    connection = duckdb.connect(database)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW cells AS {' UNION ALL '.join(parts)}")
    return connection


class Answer:
    """What a query gave: read it once, as rows or as Arrow batches.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        From :func:`connect`.
    query : str
        One or more SQL statements; the last one's rows are the answer.
    parameters : sequence, optional
        Values bound to ``?`` or ``$1`` in the query, never formatted into it.

    Raises
    ------
    QueryError
        If DuckDB refuses the query, in one line.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()) -> None:
        with _one_line():
            self._relation = connection.sql(query, params=list(parameters) or None)

    def rows(self) -> Iterator[Row]:
        """Yield one dictionary a row; a repeated column name gets a number."""
        reader = self.to_arrow_reader()
        names = _distinct(reader.schema.names)
        for batch in reader:
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))

    def to_arrow_reader(self) -> "pa.RecordBatchReader":
        """Return the rows as Arrow record batches, read as they are needed."""
        import pyarrow as pa

        if self._relation is None:  # a statement without rows, such as SET
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        with _one_line():
            reader = self._relation.to_arrow_reader(_CHUNK_ROWS)
        return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader))


def _batches(reader: "pa.RecordBatchReader") -> Iterator["pa.RecordBatch"]:
    """Yield batches as DuckDB makes them; it may fail at any of them."""
    while True:
        with _one_line():
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
        yield batch


def table_columns(path: str | Path) -> dict[str, str]:
    """Return the columns of a table in a file, with DuckDB's name of each one's type.

    Parameters
    ----------
    path : str or Path
        CSV, TSV, Parquet, GeoParquet, JSON or JSON lines, by its suffix; text may be compressed as ``.gz``.

    Raises
    ------
    TableError
        If there is no such file, or DuckDB cannot read it as what its name says.
    """
    described = _fetch(path, "DESCRIBE SELECT * FROM {}")
    return dict(zip(described["column_name"].tolist(), described["column_type"].tolist(), strict=True))


def read_table(
    path: str | Path, columns: Sequence[str] | None = None, *, numbers: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Return columns of a table in a file as NumPy arrays.

    Parameters
    ----------
    path : str or Path
        As for :func:`table_columns`.
    columns : sequence of str, optional
        Which columns, all if None; each must be one of the table's.
    numbers : collection of str
        Columns to be read as float64; what is not a number there becomes NaN.

    Returns
    -------
    dict of (n,) array
        Numbers as DuckDB has them, or as float64 with NaN where some are missing; all else as objects with None where
        missing, geometries as WKB.

    Raises
    ------
    TableError
        As for :func:`table_columns`.
    """
    types = table_columns(path)
    selected = []
    for name in types if columns is None else columns:
        quoted = '"' + name.replace('"', '""') + '"'
        value = quoted
        if (
            name in numbers
        ):  # of a bare column the CSV reader takes the cast for the type, and fails at the first misfit
            text = types[name] == "VARCHAR"
            value = f"TRY_CAST(concat({quoted}, '') AS DOUBLE)" if text else f"TRY_CAST({quoted} AS DOUBLE)"
        if types[name].startswith("GEOMETRY"):
            value = f"ST_AsWKB({quoted})"
        selected.append(f"{value} AS {quoted}")
    return {name: _filled(column) for name, column in _fetch(path, f"SELECT {', '.join(selected)} FROM {{}}").items()}


def _fetch(path: str | Path, query: str) -> dict[str, Any]:
    """Return the answer of a query about one file, whose reader stands for the braces."""
    path = Path(path)
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    reader = _READERS.get(suffix.lower())
    if not path.is_file():
        raise TableError(f"No table at {path}.")
    if reader is None:
        raise TableError(f"{path} is of no kind read here; expected a name that ends in {', '.join(_READERS)}.")
    try:
        with _one_line(), duckdb.connect() as connection:
            answer: dict[str, Any] = connection.execute(
                query.replace("{}", reader.format(_file_literal(path)))
            ).fetchnumpy()
    except QueryError as error:
        raise TableError(f"{path} could not be read as a table: {str(error)[:300]}") from None
    return answer


def _filled(column: Any) -> NDArray[Any]:
    """Return a column of DuckDB's without a mask: NaN or None where a value is missing."""
    missing = np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else None
    values = np.asarray(getattr(column, "data", column) if missing is not None else column)
    if missing is None or not missing.any():
        return values
    filled = values.astype(np.float64 if values.dtype.kind in "iuf" else object)
    filled[missing] = np.nan if values.dtype.kind in "iuf" else None
    return filled


@contextmanager
def _one_line() -> Iterator[None]:
    """Raise what DuckDB complains of as a QueryError of one line, without the excerpt of the query."""
    try:
        yield
    except (duckdb.Error, OSError) as error:  # an error in the middle of a stream comes by way of Arrow, as OSError
        text = re.sub(r"\n+LINE \d+:.*", "", str(error), flags=re.DOTALL)
        raise QueryError(" ".join(text.split())) from None


def _distinct(names: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        candidate, number = name, 1
        while candidate in found:
            candidate, number = f"{name}_{number}", number + 1
        found[candidate] = None
    return list(found)


def _file_literal(path: Path) -> str:
    """Return a file's name as an SQL string that no quote or glob character in it can break."""
    name = str(path.resolve())
    for special in "[*?":
        name = name.replace(special, f"[{special}]") if special != "[" else name.replace("[", "[[]")
    return "'" + name.replace("'", "''") + "'"
