"""DuckDB over an atlas: every cell as a row, every embedding as a column."""

from pathlib import Path

from .atlas import Atlas, open_atlas
from .database import Answer as Answer
from .database import Connection, file_literal, open_database


def connect(atlas: "str | Path | Atlas" = "atlas", *, database: str = ":memory:") -> Connection:
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
        files = ", ".join(file_literal(atlas.path / file) for file in atlas.manifest.cell_files(res))
        parts.append(
            f"SELECT {res}::UTINYINT AS res, cell, lon, lat, land, norm, "
            f"embedding::FLOAT[{atlas.manifest.dim}] AS embedding FROM read_parquet([{files}])"
        )
    connection = open_database(database)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW cells AS {' UNION ALL '.join(parts)}")
    return connection
