"""DuckDB over an atlas: a table of all cells with their embeddings, and functions for similarity and search."""

import weakref
from pathlib import Path

import numpy as np

from ..atlas import Atlas, open_atlas
from ..database import Answer as Answer
from ..database import (
    Connection,
    check_condition,
    file_literal,
    lock,
    numpy_of,
    open_database,
    query_errors,
    quoted,
    register_function,
)
from ..errors import QueryError
from ..geo import sphere
from ..search.engine import Ranges
from ..search.geo_filters import ranges_of
from ..storage.cell_files import dataset_of
from ._functions import functions

_CATALOG = "satclip"
_COLUMNS = "res, cell, lon, lat, land, norm, embedding"

# Cells are whole numbers or text. Macros overloaded by type do not work: an alias of the same SELECT has no type yet
# when DuckDB chooses the overload.
_CELL = """TRY_CAST(
    if(typeof(cell) = 'VARCHAR', regexp_replace(cell::VARCHAR, '^(0[xX])?', '0x'), cell::VARCHAR) AS UBIGINT)"""

# The first have the names of DuckDB's H3 extension.
_MACROS = {
    "h3_latlng_to_cell": "(lat, lng, res) AS {f}cell(lng::DOUBLE, lat::DOUBLE, res::BIGINT)",
    "h3_cell_to_parent": "(cell, res) AS {f}parent({cell}, res::BIGINT)",
    "h3_cell_to_lat": "(cell) AS {f}lat({cell})",
    "h3_cell_to_lng": "(cell) AS {f}lon({cell})",
    "h3_get_resolution": "(cell) AS {f}res({cell})::INTEGER",
    "h3_h3_to_string": "(cell) AS CASE WHEN {f}res({cell}) IS NOT NULL THEN lower(hex({cell})) END",
    "h3_string_to_h3": "(text) AS TRY_CAST(regexp_replace(text::VARCHAR, '^(0[xX])?', '0x') AS UBIGINT)",
    "satclip_cell": "(lon, lat, res := NULL) AS {f}cell(lon::DOUBLE, lat::DOUBLE, COALESCE(res, {finest})::BIGINT)",
    "satclip_embedding": "(cell) AS {f}embedding({cell})",
    "satclip_embed": "(lon, lat) AS {f}embed(lon::DOUBLE, lat::DOUBLE)",
    # In double precision, and rounded once: exactly the similarity of the search.
    "satclip_similarity": "(a, b) AS array_inner_product(a::FLOAT[{dim}]::DOUBLE[{dim}], "
    "b::FLOAT[{dim}]::DOUBLE[{dim}])::FLOAT",
    "satclip_percentile": "(similarity, res := NULL) AS "
    "{f}percentile(similarity::FLOAT, COALESCE(res, {finest})::BIGINT)",
    # The haversine formula, which is accurate at small distances (Sinnott 1984).
    "satclip_distance_km": """(lon1, lat1, lon2, lat2) AS CASE WHEN lon1 + lat1 + lon2 + lat2 IS NOT NULL THEN
        2 * {radius} * asin(least(1.0, sqrt(power(sin(radians(lat2 - lat1) / 2), 2)
        + cos(radians(lat1)) * cos(radians(lat2)) * power(sin(radians(lon2 - lon1) / 2), 2)))) END""",
    "places_like": """
        (lon, lat, k := 10, res := NULL, exclude_within_km := 500, apart_km := 300, ocean := false, "where" := NULL)
        AS TABLE SELECT unnest({f}like(lon::DOUBLE, lat::DOUBLE, k::BIGINT, res::BIGINT, exclude_within_km::DOUBLE,
        apart_km::DOUBLE, ocean::BOOLEAN, "where"::VARCHAR), recursive := true)""",
}


def connect(
    atlas: "str | Path | Atlas" = "atlas",
    *,
    database: str | Path = ":memory:",
    read_only: bool = True,
    safe: bool = False,
) -> Connection:
    """Return a DuckDB connection with the tables and functions of an atlas.

    Parameters
    ----------
    atlas : str, Path or Atlas
        The atlas, or its folder.
    database : str or Path
        The DuckDB database to open: a file, or ``:memory:``.
    read_only : bool
        Open that file read-only. A database in memory is always writable.
    safe : bool
        For untrusted SQL: queries can read the atlas, but no files, network, extensions or Python variables, and cannot
        change these settings.

    Returns
    -------
    duckdb.DuckDBPyConnection
        View ``cells`` has columns res UTINYINT, cell UBIGINT, lon, lat DOUBLE, land BOOLEAN, norm FLOAT, embedding
        FLOAT[dim]. ``places_like(lon, lat, k := 10, res := NULL, exclude_within_km := 500, apart_km := 300, ocean :=
        false, "where" := NULL)`` is a table macro, also in a LATERAL join: the results of :meth:`Atlas.like` for a
        point, with columns rank, cell, lon, lat, land, similarity, percentile, distance_km; ``"where"`` is a condition
        on the columns of ``cells``. Functions: ``satclip_cell(lon, lat, res := NULL)``, ``satclip_embedding(cell)`` as
        stored, ``satclip_embed(lon, lat)`` of the point itself, ``satclip_similarity(a, b)``,
        ``satclip_percentile(similarity, res := NULL)``, ``satclip_distance_km(lon, lat, lon, lat)``; and, as in
        DuckDB's H3 extension, whose functions take precedence if it is loaded, ``h3_latlng_to_cell(lat, lng, res)``,
        ``h3_cell_to_parent``, ``h3_cell_to_lat``, ``h3_cell_to_lng``, ``h3_get_resolution``, ``h3_h3_to_string`` and
        ``h3_string_to_h3``.

    Raises
    ------
    AtlasNotFoundError, CorruptAtlasError
        As in :func:`open_atlas`.
    QueryError
        If the database cannot be opened.

    Notes
    -----
    The names are in a catalog ``satclip``, which comes last in the search path: your own table ``cells`` hides
    ``satclip.cells``. A cursor starts without that search path.
    """
    atlas = atlas if isinstance(atlas, Atlas) else open_atlas(atlas)
    in_memory = str(database) == ":memory:"
    connection = open_database(database, read_only=read_only and not in_memory)
    try:
        with query_errors():
            _add_atlas(connection, atlas, safe)
    except BaseException:
        connection.close()
        raise
    return connection


def _add_atlas(connection: Connection, atlas: Atlas, safe: bool) -> None:
    """Add the view, the functions and the macros to a connection, in a catalog that is searched last."""
    databases = {name for (name,) in connection.execute("SELECT database_name FROM duckdb_databases()").fetchall()}
    number = next(i for i in range(1, 1 << 16) if _catalog(i) not in databases)
    catalog, own = _catalog(number), quoted(str(connection.execute("SELECT current_database()").fetchall()[0][0]))
    connection.execute(f"ATTACH ':memory:' AS {catalog} (READ_WRITE)")
    cells = f"{catalog}.cells"
    if safe:
        cells = _register_cells(connection, atlas)
    else:
        connection.execute(f"CREATE VIEW {cells} AS {_select_cells(atlas)}")
    reference = weakref.ref(connection)  # a function of the database must not keep the database alive

    def rows_where(res: int, condition: str) -> Ranges:
        original = reference()
        if original is None:
            raise QueryError('The connection that knows "where" is closed; ask one that is open.')
        with original.cursor() as cursor:
            if safe:
                _register_cells(cursor, atlas)
            check_condition(cursor, condition, cells)
            query = f"SELECT cell FROM {cells} WHERE res = {res} AND ({condition}\n)"
            chunks = [batch.column(0) for batch in Answer(cursor, query).to_arrow_reader()]
        mask = np.zeros(len(atlas.index(res)), dtype=bool)
        for chunk in chunks:
            mask[atlas.index(res).rows_of(numpy_of(chunk))] = True
        return ranges_of(mask)

    prefix = f"_{catalog}_"
    for function in functions(atlas, rows_where):
        register_function(
            connection, f"{prefix}{function.name}", function.compute, function.parameters, function.returns
        )
    values = {"f": prefix, "cell": _CELL, "finest": atlas.resolutions[-1], "dim": atlas.manifest.dim}
    values["radius"] = sphere.EARTH_RADIUS_KM
    for name, macro in _MACROS.items():
        connection.execute(f"CREATE MACRO {catalog}.{name} {macro.format(**values)}")
    connection.execute("SET parquet_metadata_cache = true")  # the files of an atlas never change
    path = f"{own}.main,system.main,{catalog}.main".replace("'", "''")
    connection.execute(f"SET search_path = '{path}'")
    if safe:
        lock(connection)


def _catalog(number: int) -> str:
    """Return the name of a catalog; a database that is opened twice in one process has two."""
    return _CATALOG if number == 1 else f"{_CATALOG}_{number}"


def _select_cells(atlas: Atlas) -> str:
    parts = []
    for res in atlas.resolutions:
        files = ", ".join(file_literal(atlas.path / file) for file in atlas.manifest.cell_files(res))
        parts.append(
            f"SELECT {res}::UTINYINT AS res, cell, lon, lat, land, norm, "
            f"embedding::FLOAT[{atlas.manifest.dim}] AS embedding FROM read_parquet([{files}])"
        )
    return " UNION ALL ".join(parts)


def _register_cells(connection: Connection, atlas: Atlas) -> str:
    """Create the view ``cells`` over files opened by Python, so that DuckDB itself needs no access to files."""
    files = [atlas.path / file for res in atlas.resolutions for file in atlas.manifest.cell_files(res)]
    connection.register("satclip_files", dataset_of(files, atlas.path))
    connection.execute(f"CREATE OR REPLACE TEMP VIEW cells AS SELECT {_COLUMNS} FROM satclip_files")
    return "temp.cells"
