"""DuckDB: connections, queries, reading of files, and errors as one line. No other module imports it."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from duckdb.func import FunctionNullHandling, PythonUDFType
from numpy.typing import NDArray

from .errors import QueryError, TableError

if TYPE_CHECKING:
    import pyarrow as pa

Connection = duckdb.DuckDBPyConnection

_CHUNK_ROWS = 8192
_READERS = {
    ".csv": "read_csv({file}, sample_size = {sample})",
    ".tsv": "read_csv({file}, sample_size = {sample})",
    ".parquet": "read_parquet({file})",
    ".geoparquet": "read_parquet({file})",
    ".json": "read_json({file}, sample_size = {sample})",
    ".jsonl": "read_json({file}, sample_size = {sample})",
    ".ndjson": "read_json({file}, sample_size = {sample})",
}


def open_database(database: str | Path = ":memory:", *, read_only: bool = False, **settings: Any) -> Connection:
    """Return a connection to a DuckDB file, or to an in-memory database; settings are those of DuckDB."""
    with query_errors():
        connection = duckdb.connect(str(database), read_only=read_only, config=settings)
        connection.execute("SET enable_progress_bar = false")  # it would be drawn on stdout, which is for data
    return connection


def register_function(
    connection: Connection, name: str, compute: Callable[..., Any], parameters: Sequence[str], returns: str
) -> None:
    """Register a function of Arrow arrays in a connection; it is called with chunks of rows, including NULL."""

    def function(*columns: Any) -> Any:
        return compute(*columns)

    # DuckDB reads the number of parameters from the signature, and evaluates its annotations.
    named = [Parameter(f"c{i}", Parameter.POSITIONAL_ONLY) for i in range(len(parameters))]
    function.__signature__ = Signature(named)  # type: ignore[attr-defined]
    kinds: list[Any] = list(parameters)
    arrow, null = PythonUDFType.ARROW, FunctionNullHandling.SPECIAL
    connection.create_function(name, function, kinds, returns, type=arrow, null_handling=null)


def is_complete(text: str) -> bool:
    """Return whether SQL ends in a semicolon outside of strings and comments."""
    tokens = [at for at, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    return bool(tokens) and text[tokens[-1]] == ";"


def lock(connection: Connection) -> None:
    """Permanently deny a connection access to files, network, extensions and Python variables."""
    for name, value in (("enable_external_access", 0), ("python_enable_replacements", 0), ("lock_configuration", 1)):
        connection.execute(f"SET {name} = {bool(value)}")


def check_condition(connection: Connection, where: str, relation: str) -> None:
    """Raise QueryError unless a condition is a single expression over columns of a relation."""
    if not where.strip():
        raise QueryError("The condition is empty; expected SQL such as: population > 1e6")
    try:
        with query_errors():
            # Two contexts: a condition that closes the bracket of one, or the CASE of the other, fails in the other.
            connection.extract_statements(f"SELECT CASE WHEN {where}\n THEN 1 END")
            connection.extract_statements(f"SELECT 1 WHERE ({where}\n)")
            connection.sql(f"SELECT 1 FROM {relation} WHERE ({where}\n)")
    except QueryError as error:
        raise QueryError(f"The condition {where!r} is not valid SQL: {error}") from None


class Answer:
    """The result of a query; it can be read once, as rows or as Arrow batches.

    Parameters
    ----------
    connection : Connection
        The connection to run the query on.
    query : str
        One or more SQL statements; the result is that of the last.
    parameters : sequence or mapping, optional
        Values that are bound to ``?`` or ``$1``, or to ``$name``, in the query.

    Raises
    ------
    QueryError
        If the query is empty or fails; the message is one line.
    """

    def __init__(self, connection: Connection, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        with query_errors():
            if not connection.extract_statements(query):
                raise QueryError('The query is empty; expected SQL such as "SELECT count(*) FROM cells".')
            values = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
            self._relation = connection.sql(query, params=values or None)

    @property
    def types(self) -> list[Any]:
        """DuckDB's types of the columns."""
        return list(self._relation.types) if self._relation is not None else []

    @property
    def names(self) -> list[str]:
        """The columns; a repeated name gets a number."""
        return _distinct(self._relation.columns if self._relation is not None else [])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one dictionary per row; repeated column names get a number."""
        reader = self.to_arrow_reader()
        names = _distinct(reader.schema.names)
        for batch in reader:
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))

    def to_arrow_reader(
        self, batch_rows: int = _CHUNK_ROWS, *, casts: Mapping[int, str] | None = None
    ) -> "pa.RecordBatchReader":
        """Return a stream of Arrow record batches of about ``batch_rows`` rows.

        Parameters
        ----------
        batch_rows : int
        casts : mapping of int to str, optional
            SQL types to cast columns to, by position; ``WKB`` for geometries.
        """
        import pyarrow as pa

        if self._relation is None:  # a statement without rows, such as SET
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        with query_errors():
            relation = self._relation.project(_projection(self.names, casts)) if casts else self._relation
            reader = relation.to_arrow_reader(batch_rows)
        return pa.RecordBatchReader.from_batches(reader.schema, _batches(reader))


def _projection(names: Sequence[str], casts: Mapping[int, str]) -> str:
    columns = []
    for i, name in enumerate(names):
        cast, value = casts.get(i), f"#{i + 1}"
        value = f"ST_AsWKB({value})" if cast == "WKB" else f"CAST({value} AS {cast})" if cast else value
        columns.append(f"{value} AS {quoted(name)}")
    return ", ".join(columns)


def _batches(reader: "pa.RecordBatchReader") -> Iterator["pa.RecordBatch"]:
    """Yield the batches of a stream; a query can fail at any of them."""
    while True:
        with query_errors():
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
        yield batch


def table_columns(path: str | Path) -> dict[str, str]:
    """Return the columns of a table in a file, with the DuckDB name of each type.

    Parameters
    ----------
    path : str or Path
        CSV, TSV, Parquet, GeoParquet, JSON or JSON Lines, by its suffix; text files may be compressed as ``.gz``.

    Raises
    ------
    TableError
        If the file does not exist, or cannot be read as the format of its suffix.
    """
    described = _fetch(path, "DESCRIBE SELECT *")
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
        Names of columns to read; all by default.
    numbers : collection of str
        Columns to read as float64; values that are not numbers become NaN.

    Returns
    -------
    dict of (n,) array
        Numbers in the type of DuckDB, or as float64 with NaN if some are missing; other columns as objects with None
        for missing values, geometries as WKB.

    Raises
    ------
    TableError
        As for :func:`table_columns`.
    """
    types = table_columns(path)
    selected = []
    for name in types if columns is None else columns:
        value = quoted(name)
        if name in numbers:
            value = number_of(name, types[name])
        elif types[name].startswith("GEOMETRY"):
            value = f"ST_AsWKB({value})"
        selected.append(f"{value} AS {quoted(name)}")
    found = _fetch(path, f"SELECT {', '.join(selected)}")
    return {name: _filled(column) for name, column in found.items()}


def table_in(path: str | Path, *, sample: int = -1) -> str:
    """Return an SQL expression for the table in a file.

    Parameters
    ----------
    path : str or Path
        As for :func:`table_columns`.
    sample : int
        Number of rows of a text file from which types are inferred; all if -1.
    """
    path = Path(path)
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    reader = _READERS.get(suffix.lower())
    if not path.is_file():
        raise TableError(f"No table at {path}.")
    if reader is None:
        raise TableError(f"{path} has an unsupported format; expected a name that ends in {', '.join(_READERS)}.")
    return reader.format(file=file_literal(path), sample=sample)


def number_of(name: str, kind: str) -> str:
    """Return an SQL expression that reads a column of a DuckDB type as float64, with NULL for other values."""
    if (
        kind == "VARCHAR"
    ):  # the CSV reader would apply a cast of the bare column itself, and fail at the first bad value
        return f"TRY_CAST(concat({quoted(name)}, '') AS DOUBLE)"
    return f"TRY_CAST({quoted(name)} AS DOUBLE)"


def numpy_of(column: "pa.Array") -> NDArray[Any]:
    """Return an Arrow array of numbers without missing values as NumPy, without a copy or an import of pandas."""
    return np.from_dlpack(column)


def quoted(name: str) -> str:
    """Return a column name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def file_literal(path: Path) -> str:
    """Return a file name as an SQL string literal, with glob characters escaped."""
    name = str(path.resolve())
    for special in "[*?":
        name = name.replace(special, f"[{special}]") if special != "[" else name.replace("[", "[[]")
    return "'" + name.replace("'", "''") + "'"


@contextmanager
def query_errors() -> Iterator[None]:
    """Raise errors of DuckDB as QueryError, in one line and without the excerpt of the query."""
    try:
        yield
    except (duckdb.Error, OSError) as error:  # errors within a stream arrive through Arrow, as OSError
        text = re.sub(r"\n+LINE \d+:.*", "", str(error), flags=re.DOTALL)
        text = re.sub(r".*?Python exception occurred while executing the UDF: \w+: ", "", text)  # one of our own errors
        raise QueryError(" ".join(text.split())) from None


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Raise errors of DuckDB as TableError, with the name of the file."""
    try:
        with query_errors():
            yield
    except QueryError as error:
        raise TableError(f"{path} could not be read as a table: {str(error)[:300]}") from None


def _fetch(path: str | Path, select: str) -> dict[str, Any]:
    """Return the result of a SELECT from the table in a file."""
    source = table_in(path)
    with reading(path), open_database() as connection:
        columns: dict[str, Any] = connection.execute(f"{select} FROM {source}").fetchnumpy()
    return columns


def _filled(column: Any) -> NDArray[Any]:
    """Return a column of DuckDB without its mask, with NaN or None for missing values."""
    missing = np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else None
    values = np.asarray(getattr(column, "data", column) if missing is not None else column)
    if missing is None or not missing.any():
        return values
    filled = values.astype(np.float64 if values.dtype.kind in "iuf" else object)
    filled[missing] = np.nan if values.dtype.kind in "iuf" else None
    return filled


def _distinct(names: Sequence[str]) -> list[str]:
    distinct: dict[str, None] = {}
    for name in names:
        candidate, number = name, 1
        while candidate in distinct:
            candidate, number = f"{name}_{number}", number + 1
        distinct[candidate] = None
    return list(distinct)
