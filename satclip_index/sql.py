"""DuckDB over an atlas: every cell as a row, every embedding as a column."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from .atlas import Atlas, open_atlas
from .errors import QueryError
from .formats import Row

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_ROWS = 8192


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
