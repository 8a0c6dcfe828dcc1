"""Export of an atlas to LanceDB: a table per resolution, with indexes for search and filters."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from ..errors import AtlasExistsError, OutputError, SatclipIndexError, one_line, require_extra
from ..geo import grid
from ..progress import Progress, ProgressCounter
from ..storage.atomic import exchange, partial_path, sync
from ..storage.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

CellsOf = Callable[[int], "pa.RecordBatchReader"]
"""Returns the cells of a resolution as a stream."""

METADATA_KEY = "satclip_index"
_PARENTS = (0, 1, 2)  # 122, 842 and 5,882 cells, so that bitmap indexes are small
_SCHEMES = ("s3", "gs", "az")
_FILE = "file:///"
_NAME = re.compile(r"cells_\d+")
_CODE_BITS = 4  # per dimension; with 1 bit, the same recall needs re-ranking of three times as many rows
_CODE_DIM = 8  # LanceDB supports these codes only for multiples of 8 dimensions
_TRIES, _PAUSE_S = 50, 0.1


def table_name(res: int) -> str:
    """Return the name of the table of a resolution."""
    return f"cells_{res}"


def write_lance(
    manifest: Manifest,
    cells_of: CellsOf,
    destination: str | Path,
    *,
    res: int | Sequence[int] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> str:
    """Write resolutions of an atlas as LanceDB tables, and return the argument of ``lancedb.connect`` to open them.

    Parameters
    ----------
    manifest : Manifest
        Manifest of the atlas.
    cells_of : function
        Streams the cells of a resolution.
    destination : str or Path
        A folder, written under a temporary name and renamed when complete; or a URL, such as ``s3://BUCKET/NAME``.
    res : int or sequence of int, optional
        Resolutions to export; all by default.
    force : bool
        Replace existing tables.
    progress : function of (done, total), optional
        Called with the number of cells written and the total; the indexes of a table are built after its last cell.

    Raises
    ------
    ResolutionError
        If the atlas lacks a resolution, or the list is empty.
    MissingExtraError
        If LanceDB is not installed.
    AtlasExistsError
        If tables exist and ``force`` is not set, or the folder contains anything else.
    OutputError
        If they cannot be written.
    """
    resolutions = grid.check_resolutions(list(manifest.resolutions) if res is None else res)
    total = sum(manifest.entry(r).count for r in resolutions)
    with require_extra("lancedb", "lance"):
        import lancedb
    counter = ProgressCounter(progress, total)
    text = str(destination)
    if "://" in text and not text.startswith(_FILE):
        url = _check_url(text)
        with _output_errors(url):
            database = lancedb.connect(url)
            existing = list(_names(database))
            _check_free(url, existing, force)
            for r in resolutions:
                mode = "overwrite" if table_name(r) in existing else "create"
                _write_table(database, manifest, cells_of, r, counter, mode)
            for name in set(existing) - set(map(table_name, resolutions)):
                database.drop_table(name)
        return url
    path = Path(unquote(text.removeprefix("file://")) if text.startswith(_FILE) else text)
    if path.name in ("", ".."):  # it could not be renamed into place
        raise OutputError(f"{str(path)!r} is not the name of a new folder. Name one, such as {path / 'atlas.lance'}.")
    path = path.absolute()  # a relative name such as md:x could be read as an address
    with _output_errors(path), _folder(path, force) as partial:
        database = lancedb.connect(partial)
        for r in resolutions:
            _write_table(database, manifest, cells_of, r, counter, "create")
    return str(path)


def _write_table(
    database: Any, manifest: Manifest, cells_of: CellsOf, res: int, counter: ProgressCounter, mode: str
) -> None:
    """Write the table of a resolution in one commit, then build its indexes."""
    import pyarrow as pa
    from lancedb.index import Bitmap, BTree, IvfRq, IvfSq

    parents = [parent for parent in _PARENTS if parent < res]
    schema = _schema(manifest, res, parents)
    failure: list[BaseException] = []

    def batches() -> Iterator["pa.RecordBatch"]:
        try:
            for batch in cells_of(res):
                yield _as_row_batch(batch, schema, res, parents)
                counter.add(batch.num_rows)
        except BaseException as error:  # LanceDB would wrap the error of this stream
            failure.append(error)
            raise

    try:
        reader = pa.RecordBatchReader.from_batches(schema, batches())
        table = database.create_table(table_name(res), reader, mode=mode)
    except BaseException:
        if failure:
            raise failure[0] from None
        raise
    for column in ("cell", "lon", "lat"):
        table.create_index(column, config=BTree())
    for column in ("land", *map(_parent_name, parents)):
        table.create_index(column, config=Bitmap())
    has_codes = manifest.dim % _CODE_DIM == 0
    codes = IvfRq(distance_type="dot", num_bits=_CODE_BITS) if has_codes else IvfSq(distance_type="dot")
    table.create_index("embedding", config=codes)


def _schema(manifest: Manifest, res: int, parents: Sequence[int]) -> "pa.Schema":
    """Return the schema of a table, with a description of the atlas in its metadata."""
    import pyarrow as pa

    entry = asdict(manifest.entry(res))
    description = {
        "res": res,
        "cells": entry["count"],
        "land_cells": entry["land_count"],
        "land_only": manifest.land_only,
        "dim": manifest.dim,
        "encoder": manifest.encoder,
        "similarity": "1 - _distance of a search with distance_type('dot')",
        "similarity_levels": entry["similarity_levels"],
        "similarity_quantiles": entry["similarity_quantiles"],
        "atlas_sha256": manifest.sha256,
        "made_with": manifest.libraries,
    }
    columns = {
        "cell": pa.uint64(),
        "res": pa.uint8(),
        "lon": pa.float64(),
        "lat": pa.float64(),
        "land": pa.bool_(),
        "norm": pa.float32(),
        **{_parent_name(parent): pa.uint64() for parent in parents},
        # float32, although the values are float16: LanceDB rounds queries to the type of the column.
        "embedding": pa.list_(pa.float32(), manifest.dim),
    }
    return pa.schema(columns, {METADATA_KEY: json.dumps(description, sort_keys=True)})


def _as_row_batch(batch: "pa.RecordBatch", schema: "pa.Schema", res: int, parents: Sequence[int]) -> "pa.RecordBatch":
    import pyarrow as pa

    cells = np.from_dlpack(batch["cell"]).astype(np.uint64, copy=False)
    added = {"res": pa.array(np.full(cells.size, res, np.uint8))}
    added |= {_parent_name(parent): pa.array(grid.ancestors(cells, parent)) for parent in parents}
    columns = [added[name] if name in added else batch[name] for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _parent_name(res: int) -> str:
    return f"parent_{res}"


def _names(database: Any) -> Iterator[str]:
    """Yield the names of all tables of a database that can be exports."""
    page = None
    while page is None or page.page_token:
        page = database.list_tables(page_token=page.page_token if page else None)
        yield from filter(_NAME.fullmatch, page.tables)


def _check_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES or not rest.strip("/"):
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise OutputError(f"{url[:80]!r} is not supported; expected a folder, or a URL that starts with {known}.")
    return url


def _check_free(where: str | Path, tables: Sequence[str], force: bool) -> None:
    if tables and not force:
        raise AtlasExistsError(
            f"LanceDB tables already exist at {where} ({', '.join(sorted(tables))}). "
            "Replace them with --force, or name another destination."
        )


@contextmanager
def _folder(path: Path, force: bool) -> Iterator[Path]:
    """Yield a temporary folder; then rename it to ``path``, or remove it on an error."""
    path = path.resolve() if path.is_symlink() else path
    _check_folder(path, force)
    partial = partial_path(path)
    old = partial.with_suffix(".replaced")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        for written in [*partial.rglob("*"), partial]:
            sync(written)
        _check_folder(path, force)
        if path.exists() and not exchange(partial, path):
            path.rename(old)
        if not path.exists():
            partial.rename(path)
        sync(path.parent)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
    except BaseException:
        with suppress(OSError, ValueError):
            if old.exists() and not path.exists():
                old.rename(path)
            _remove_repeatedly(partial)
        raise


def _remove_repeatedly(folder: Path) -> None:
    """Remove a folder into which threads of LanceDB may still write files while they stop."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(_PAUSE_S)
        if not folder.exists():
            return


def _check_folder(path: Path, force: bool) -> None:
    """Raise AtlasExistsError if the path has anything that must not be replaced."""
    if not path.exists():
        return
    if not path.is_dir():
        raise AtlasExistsError(f"{path} is a file, so it is not replaced. Name a folder.")
    names = [entry.name for entry in path.iterdir()]
    tables = [name.removesuffix(".lance") for name in names if name.endswith(".lance")]
    if len(tables) < len(names) or not all(map(_NAME.fullmatch, tables)):
        raise AtlasExistsError(
            f"{path} contains more than exported tables, so it is not replaced. Name another folder."
        )
    _check_free(path, tables, force)


@contextmanager
def _output_errors(where: str | Path) -> Iterator[None]:
    """Raise errors of the file system and of LanceDB as OutputError."""
    try:
        yield
    except SatclipIndexError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"{str(where)[:80]!r} could not be written: {one_line(error)}.") from None
