"""Export of an atlas to a DuckDB file with SQL macros, which any DuckDB can query without satclip-index."""

import math
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from ..database import Connection, file_literal, open_database, query_errors
from ..errors import AtlasExistsError, OutputError, QueryError, one_line
from ..geo import grid, sphere
from ..progress import Progress, ProgressCounter
from ..storage.atomic import atomic_path
from ..storage.manifest import Manifest
from . import _h3_lattice

SCHEMA = "geo"
"""The qualifier that macros use: a schema of the file, or the alias under which the file is attached."""

_MEMORY = "512MB"
_TABLES = ("cells", "atlas", "centers", "faces", "lattice", "percentiles")


def write_standalone(
    root: Path,
    manifest: Manifest,
    path: Path,
    *,
    res: int | Sequence[int] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write resolutions of an atlas to a DuckDB file, and return its path.

    Parameters
    ----------
    root : Path
        Folder of the atlas.
    manifest : Manifest
        Its manifest.
    path : Path
        The new file; it is written under a temporary name and renamed when complete.
    res : int or sequence of int, optional
        Resolutions to export; all by default.
    force : bool
        Replace an existing file.
    progress : function of (done, total), optional
        Called with the number of rows written and the total.

    Raises
    ------
    ResolutionError
        If the atlas lacks a resolution, or the list is empty.
    AtlasExistsError
        If the file exists and ``force`` is not set.
    OutputError
        If it cannot be written.
    """
    resolutions = grid.check_resolutions(list(manifest.resolutions) if res is None else res)
    total = sum(manifest.entry(r).count for r in resolutions)
    with (
        _partial_file(path, force) as partial,
        open_database(partial, memory_limit=_MEMORY) as connection,
        query_errors(),
    ):
        connection.execute("BEGIN")  # appending in one transaction writes nothing twice
        _add_cells(connection, root, manifest, resolutions, ProgressCounter(progress, total))
        _add_atlas(connection, manifest, resolutions)
        _add_lattice(connection, resolutions[-1])
        connection.execute("COMMIT")
        _add_macros(connection, manifest, resolutions, _schemas(path))
        connection.execute("CHECKPOINT")
    return path


def _add_cells(
    connection: Connection, root: Path, manifest: Manifest, res: Sequence[int], counter: ProgressCounter
) -> None:
    connection.execute(
        "CREATE TABLE cells (res UTINYINT, cell UBIGINT, lon DOUBLE, lat DOUBLE, land BOOLEAN, norm FLOAT, "
        f"embedding FLOAT[{manifest.dim}])"
    )
    for r in res:
        for file in manifest.cell_files(r):
            added = connection.execute(
                f"INSERT INTO cells SELECT {r}, cell, lon, lat, land, norm, embedding::FLOAT[{manifest.dim}] "
                f"FROM read_parquet({file_literal(root / file)}, hive_partitioning = false)"
            ).fetchone()
            counter.add(added[0] if added else 0)


def _add_atlas(connection: Connection, manifest: Manifest, res: Sequence[int]) -> None:
    """Add a table about the atlas, and one of percentiles of similarity as line segments between quantiles."""
    connection.execute(
        "CREATE TABLE atlas (res UTINYINT, cells BIGINT, land_cells BIGINT, land_only BOOLEAN, dim INTEGER, "
        "encoder VARCHAR, encoder_sha256 VARCHAR, satclip_index_version VARCHAR)"
    )
    connection.execute(
        "CREATE TABLE percentiles (res UTINYINT, low DOUBLE, high DOUBLE, percentile DOUBLE, slope DOUBLE)"
    )
    for r in res:
        entry = manifest.entry(r)
        source = (manifest.encoder["name"], manifest.encoder["sha256"], manifest.libraries.get("satclip-index"))
        connection.execute(
            "INSERT INTO atlas VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [r, entry.count, entry.land_count, manifest.land_only, manifest.dim, *source],
        )
        levels = np.asarray(entry.similarity_levels) * 100
        lows, first = np.unique(entry.similarity_quantiles, return_index=True)
        last = np.append(first[1:], levels.size) - 1  # equal quantiles take the highest level
        slope = np.append(levels[first[1:]] - levels[last[:-1]], 0.0)
        slope[:-1] /= np.diff(lows)
        lines = zip(lows, np.append(lows[1:], math.inf), levels[last], slope, strict=True)
        below = (-sys.float_info.max, float(lows[0]), float(levels[0]), 0.0)
        connection.executemany(
            "INSERT INTO percentiles VALUES (?, ?, ?, ?, ?)",
            [(r, *below), *((r, *map(float, line)) for line in lines)],
        )


def _add_lattice(connection: Connection, finest: int) -> None:
    """Add the tables for computing cells at each resolution up to the finest."""
    import pyarrow as pa

    shape, axes = _h3_lattice.faces(), "xyz"
    names = [*axes, *(f"a_{axis}" for axis in axes), *(f"b_{axis}" for axis in axes)]
    connection.execute(
        f"CREATE TABLE faces (odd UTINYINT, face UTINYINT, {', '.join(f'{name} DOUBLE' for name in names)})"
    )
    for odd in (0, 1):
        rows = np.hstack([shape.center, shape.a[odd], shape.b[odd]]).tolist()
        connection.executemany(
            f"INSERT INTO faces VALUES ({', '.join('?' * (2 + len(names)))})",
            [(odd, face, *row) for face, row in enumerate(rows)],
        )
    connection.execute("CREATE TABLE lattice (res UTINYINT, face UTINYINT, a INTEGER, b INTEGER, cell UBIGINT)")
    connection.execute("CREATE TABLE centers (cell UBIGINT, lon DOUBLE, lat DOUBLE)")
    for r in range(finest + 1):
        for part in _h3_lattice.lattice_parts(r):
            points = {"face": part.face, "a": part.a, "b": part.b, "cell": part.cell}
            _insert(connection, "lattice", f"SELECT {r}, * FROM added", pa.table(points))
        for roots in grid.shard_roots(r):
            cells = grid.descendants(roots, r)
            lon, lat = grid.cell_centers(cells)
            _insert(connection, "centers", "FROM added", pa.table({"cell": cells, "lon": lon, "lat": lat}))


def _insert(connection: Connection, table: str, select: str, rows: object) -> None:
    connection.register("added", rows)
    connection.execute(f"INSERT INTO {table} {select}")
    connection.unregister("added")


def _add_macros(connection: Connection, manifest: Manifest, res: Sequence[int], schemas: Sequence[str]) -> None:
    script = Template(resources.files(__package__).joinpath("duckdb_file.sql").read_text(encoding="utf-8"))
    if SCHEMA in schemas:
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        for table in _TABLES:
            connection.execute(f"CREATE VIEW {SCHEMA}.{table} AS FROM main.{table}")
    for schema in schemas:
        connection.execute(
            script.substitute(
                schema=schema,
                dim=manifest.dim,
                finest=res[-1],
                held=", ".join(map(str, res)),
                radius_km=repr(sphere.EARTH_RADIUS_KM),
                spacing_km=repr(_h3_lattice.LEAST_SPACING_KM),
            )
        )


def _schemas(path: Path) -> tuple[str, ...]:
    """Return the schemas for macros; a file that DuckDB attaches as ``geo`` must not also have a schema ``geo``."""
    name = path.name.strip(".").split(".")[0]
    return (
        ("main",) if name.lower() == SCHEMA else (SCHEMA, "main")
    )  # macro bodies refer to the first, so it must exist already


@contextmanager
def _partial_file(path: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary path; then rename it to ``path``, or remove it on an error."""
    path = path.absolute()  # a relative name such as md:x would be an address of MotherDuck
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except (OSError, ValueError) as error:  # such as a name that is too long, or has an invalid character
        raise OutputError(f"{str(path)[:80]!r} cannot be a file: {one_line(error)}.") from None
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder. Name a file, such as {path / 'geo.duckdb'}.")
    if mode and not stat.S_ISREG(mode):
        raise OutputError(f"{path} is a device or a pipe; DuckDB writes files only.")
    if mode and not force:
        raise AtlasExistsError(f"{path} already exists. Replace it with --force, or name another file.")
    with atomic_path(path) as partial:
        partial.unlink()  # DuckDB reports an empty file as damaged
        try:
            yield partial
            for name in {path, path.resolve()}:
                _log_of(name).unlink(missing_ok=True)  # DuckDB would replay the log of the old file
        except QueryError as error:
            raise OutputError(f"{path} could not be written: {error}") from None
        finally:
            with suppress(OSError):
                _log_of(partial).unlink(missing_ok=True)


def _log_of(path: Path) -> Path:
    """Return the path of the write-ahead log of a database."""
    return path.with_name(f"{path.name}.wal")
