"""An atlas as one DuckDB file that needs nothing else: the cells, and SQL macros that ask them."""

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
"""What the macros call the place they are in: a schema of the file, or the alias it is attached by."""

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
    """Write some resolutions of an atlas as a DuckDB file, and return its path.

    Parameters
    ----------
    root : Path
        The atlas's folder.
    manifest : Manifest
        What it holds.
    path : Path
        The file to make. It is written beside it, under a temporary name, and renamed when complete.
    res : int or sequence of int, optional
        Which resolutions; all by default.
    force : bool
        Replace a file that is there.
    progress : function of (done, total), optional
        Called with the rows written so far and in all.

    Raises
    ------
    ResolutionError
        If the atlas does not hold a resolution, or none is named.
    AtlasExistsError
        If there is such a file and ``force`` is not set.
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
        connection.execute("BEGIN")  # of what is appended in one transaction nothing is written twice
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
    """Say what made the cells, and lay the similarity of random pairs out as straight lines between quantiles."""
    connection.execute(
        "CREATE TABLE atlas (res UTINYINT, cells BIGINT, land_cells BIGINT, land_only BOOLEAN, dim INTEGER, "
        "encoder VARCHAR, encoder_sha256 VARCHAR, satclip_index_version VARCHAR)"
    )
    connection.execute(
        "CREATE TABLE percentiles (res UTINYINT, low DOUBLE, high DOUBLE, percentile DOUBLE, slope DOUBLE)"
    )
    for r in res:
        entry = manifest.entry(r)
        made = (manifest.encoder["name"], manifest.encoder["sha256"], manifest.libraries.get("satclip-index"))
        connection.execute(
            "INSERT INTO atlas VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [r, entry.count, entry.land_count, manifest.land_only, manifest.dim, *made],
        )
        levels = np.asarray(entry.similarity_levels) * 100
        lows, first = np.unique(entry.similarity_quantiles, return_index=True)
        last = np.append(first[1:], levels.size) - 1  # of equal quantiles the highest level counts
        slope = np.append(levels[first[1:]] - levels[last[:-1]], 0.0)
        slope[:-1] /= np.diff(lows)
        lines = zip(lows, np.append(lows[1:], math.inf), levels[last], slope, strict=True)
        below = (-sys.float_info.max, float(lows[0]), float(levels[0]), 0.0)
        connection.executemany(
            "INSERT INTO percentiles VALUES (?, ?, ?, ?, ?)",
            [(r, *below), *((r, *map(float, line)) for line in lines)],
        )


def _add_lattice(connection: Connection, finest: int) -> None:
    """Add what cells are computed by, at every resolution up to the finest."""
    import pyarrow as pa

    shape, axes = _h3_lattice.faces(), "xyz"
    names = [*axes, *(f"a_{axis}" for axis in axes), *(f"b_{axis}" for axis in axes)]
    connection.execute(
        f"CREATE TABLE faces (odd UTINYINT, face UTINYINT, {', '.join(f'{name} DOUBLE' for name in names)})"
    )
    for odd in (0, 1):
        rows = np.hstack([shape.centre, shape.a[odd], shape.b[odd]]).tolist()
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
    """Return where the macros go; a file that DuckDB itself calls ``geo`` must have no schema of that name, too."""
    name = path.name.strip(".").split(".")[0]
    return ("main",) if name.lower() == SCHEMA else (SCHEMA, "main")  # what a body names must be there already


@contextmanager
def _partial_file(path: Path, force: bool) -> Iterator[Path]:
    """Yield where to write; then rename it to ``path``, or remove it if something went wrong."""
    path = path.absolute()  # what looks like an address of MotherDuck is a file, too
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except (OSError, ValueError) as error:  # too long, say, or with a character that no name may have
        raise OutputError(f"{str(path)[:80]!r} cannot be a file: {one_line(error)}.") from None
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder. Name a file, such as {path / 'geo.duckdb'}.")
    if mode and not stat.S_ISREG(mode):
        raise OutputError(f"{path} is a device or a pipe; DuckDB writes files only.")
    if mode and not force:
        raise AtlasExistsError(f"There is a file {path} already. Replace it with --force, or name another.")
    with atomic_path(path) as partial:
        partial.unlink()  # DuckDB takes an empty file for a damaged one
        try:
            yield partial
            for name in {path, path.resolve()}:
                _log_of(name).unlink(missing_ok=True)  # DuckDB would replay the old file's
        except QueryError as error:
            raise OutputError(f"{path} could not be written: {error}") from None
        finally:
            with suppress(OSError):
                _log_of(partial).unlink(missing_ok=True)


def _log_of(path: Path) -> Path:
    """Return where DuckDB keeps what it has not yet written into a file."""
    return path.with_name(f"{path.name}.wal")
