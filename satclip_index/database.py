"""DuckDB: connections, queries and files, with its complaints in one line; the only file that imports it."""

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
    """Return a connection to a DuckDB file, or to memory, with DuckDB's own settings."""
    with query_errors():
        connection = duckdb.connect(str(database), read_only=read_only, config=settings)
        connection.execute("SET enable_progress_bar = false")  # it is drawn on stdout, which is for data
    return connection


def register_function(
    connection: Connection, name: str, compute: Callable[..., Any], parameters: Sequence[str], returns: str
) -> None:
    """Give a connection a function of Arrow arrays, called with a chunk of rows at a time, NULL among them."""

    def plain(*columns: Any) -> Any:
        return compute(*columns)

    # DuckDB counts the parameters of a signature, and evaluates its annotations.
    named = [Parameter(f"c{i}", Parameter.POSITIONAL_ONLY) for i in range(len(parameters))]
    plain.__signature__ = Signature(named)  # type: ignore[attr-defined]
    kinds: list[Any] = list(parameters)
    arrow, null = PythonUDFType.ARROW, FunctionNullHandling.SPECIAL
    connection.create_function(name, plain, kinds, returns, type=arrow, null_handling=null)


def is_complete(text: str) -> bool:
    """Return whether SQL ends in a semicolon that is none of a string's or a comment's."""
    tokens = [at for at, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    return bool(tokens) and text[tokens[-1]] == ";"


def lock(connection: Connection) -> None:
    """Shut a connection off from files, network, extensions and Python's variables, for good."""
    for name, value in (("enable_external_access", 0), ("python_enable_replacements", 0), ("lock_configuration", 1)):
        connection.execute(f"SET {name} = {bool(value)}")


def check_condition(connection: Connection, where: str, relation: str) -> None:
    """Raise QueryError unless a condition is one expression, over columns that a relation has."""
    if not where.strip():
        raise QueryError("The condition is empty; expected SQL such as: population > 1e6")
    try:
        with query_errors():
            # What closes the one bracket to open another, or has a THEN of its own, fails in the other.
            connection.extract_statements(f"SELECT CASE WHEN {where}\n THEN 1 END")
            connection.extract_statements(f"SELECT 1 WHERE ({where}\n)")
            connection.sql(f"SELECT 1 FROM {relation} WHERE ({where}\n)")
    except QueryError as error:
        raise QueryError(f"The condition {where!r} is not one that DuckDB takes: {error}") from None


class Answer:
    """What a query gave: read it once, as rows or as Arrow batches.

    Parameters
    ----------
    connection : Connection
        Where to ask.
    query : str
        One or more SQL statements; the last one's rows are the answer.
    parameters : sequence or mapping, optional
        Values bound to ``?`` or ``$1``, or to ``$name``, in the query, never formatted into it.

    Raises
    ------
    QueryError
        If DuckDB refuses the query, in one line, or there is nothing in it.
    """

    def __init__(self, connection: Connection, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        with query_errors():
            if not connection.extract_statements(query):
                raise QueryError('The query is empty; expected SQL such as "SELECT count(*) FROM cells".')
            given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
            self._relation = connection.sql(query, params=given or None)

    @property
    def types(self) -> list[Any]:
        """DuckDB's types of the columns."""
        return list(self._relation.types) if self._relation is not None else []

    @property
    def names(self) -> list[str]:
        """The columns; a repeated name gets a number."""
        return _distinct(self._relation.columns if self._relation is not None else [])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one dictionary a row; a repeated column name gets a number."""
        reader = self.to_arrow_reader()
        names = _distinct(reader.schema.names)
        for batch in reader:
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))

    def to_arrow_reader(
        self, batch_rows: int = _CHUNK_ROWS, *, casts: Mapping[int, str] | None = None
    ) -> "pa.RecordBatchReader":
        """Return the rows as Arrow record batches, of about so many rows, read as they are needed.

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
    """Yield batches as DuckDB makes them; it may fail at any of them."""
    while True:
        with query_errors():
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
        value = quoted(name)
        if name in numbers:
            value = number_of(name, types[name])
        elif types[name].startswith("GEOMETRY"):
            value = f"ST_AsWKB({value})"
        selected.append(f"{value} AS {quoted(name)}")
    found = _fetch(path, f"SELECT {', '.join(selected)}")
    return {name: _filled(column) for name, column in found.items()}


def table_in(path: str | Path, *, sample: int = -1) -> str:
    """Return the SQL that stands for the table in a file.

    Parameters
    ----------
    path : str or Path
        As for :func:`table_columns`.
    sample : int
        From how many rows of a text file the types are inferred; all if -1.
    """
    path = Path(path)
    suffix = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    reader = _READERS.get(suffix.lower())
    if not path.is_file():
        raise TableError(f"No table at {path}.")
    if reader is None:
        raise TableError(f"{path} is of no kind read here; expected a name that ends in {', '.join(_READERS)}.")
    return reader.format(file=file_literal(path), sample=sample)


def number_of(name: str, kind: str) -> str:
    """Return the SQL that reads a column, of a type of DuckDB's, as float64: NULL for what is not a number."""
    if kind == "VARCHAR":  # a bare column's cast the CSV reader takes for its type, and fails at the first misfit
        return f"TRY_CAST(concat({quoted(name)}, '') AS DOUBLE)"
    return f"TRY_CAST({quoted(name)} AS DOUBLE)"


def numpy_of(column: "pa.Array") -> NDArray[Any]:
    """Return an Arrow array of numbers, none missing, without a copy; pyarrow's own way imports pandas."""
    return np.from_dlpack(column)


def quoted(name: str) -> str:
    """Return a column's name as SQL that no quote, space or reserved word in it can break."""
    return '"' + name.replace('"', '""') + '"'


def file_literal(path: Path) -> str:
    """Return a file's name as an SQL string that no quote or glob character in it can break."""
    name = str(path.resolve())
    for special in "[*?":
        name = name.replace(special, f"[{special}]") if special != "[" else name.replace("[", "[[]")
    return "'" + name.replace("'", "''") + "'"


@contextmanager
def query_errors() -> Iterator[None]:
    """Raise what DuckDB complains of as a QueryError of one line, without the excerpt of the query."""
    try:
        yield
    except (duckdb.Error, OSError) as error:  # an error in the middle of a stream comes by way of Arrow, as OSError
        text = re.sub(r"\n+LINE \d+:.*", "", str(error), flags=re.DOTALL)
        text = re.sub(r".*?Python exception occurred while executing the UDF: \w+: ", "", text)  # it is one of ours
        raise QueryError(" ".join(text.split())) from None


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Raise what DuckDB complains of as a TableError that names the file."""
    try:
        with query_errors():
            yield
    except QueryError as error:
        raise TableError(f"{path} could not be read as a table: {str(error)[:300]}") from None


def _fetch(path: str | Path, select: str) -> dict[str, Any]:
    """Return the answer of a query from the table in one file."""
    source = table_in(path)
    with reading(path), open_database() as connection:
        answer: dict[str, Any] = connection.execute(f"{select} FROM {source}").fetchnumpy()
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


def _distinct(names: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for name in names:
        candidate, number = name, 1
        while candidate in found:
            candidate, number = f"{name}_{number}", number + 1
        found[candidate] = None
    return list(found)
