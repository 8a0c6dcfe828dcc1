"""An atlas as LanceDB tables: the cells of each resolution, with indexes to search and to filter them by."""

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
"""Of a resolution, its cells as a stream."""

METADATA_KEY = "satclip_index"
_PARENTS = (0, 1, 2)  # 122, 842 and 5,882 cells: a bitmap of each is small
_SCHEMES = ("s3", "gs", "az")
_FILE = "file:///"
_NAME = re.compile(r"cells_\d+")
_CODE_BITS = 4  # of a dimension; with 1 the re-ranking must look at three times as many rows for the same recall
_CODE_DIM = 8  # LanceDB has such codes only for multiples of it
_TRIES, _PAUSE_S = 50, 0.1


def table_name(res: int) -> str:
    """Return what the table of a resolution is called."""
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
    """Write some resolutions of an atlas as LanceDB tables, and return what ``lancedb.connect`` takes to open them.

    Parameters
    ----------
    manifest : Manifest
        What the atlas holds.
    cells_of : function
        Streams the cells of a resolution.
    destination : str or Path
        A folder, written beside itself under a temporary name and renamed when complete; or a URL, ``s3://BUCKET/NAME``.
    res : int or sequence of int, optional
        Which resolutions; all by default.
    force : bool
        Replace such tables that are there.
    progress : function of (done, total), optional
        Called with the cells written so far and in all; a table's indexes are made after its last cell.

    Raises
    ------
    ResolutionError
        If the atlas does not hold a resolution, or none is named.
    MissingExtraError
        If LanceDB is not installed.
    AtlasExistsError
        If such tables are there and ``force`` is not set, or anything else is.
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
        with _one_line(url):
            database = lancedb.connect(url)
            there = list(_names(database))
            _check_free(url, there, force)
            for r in resolutions:
                mode = "overwrite" if table_name(r) in there else "create"
                _write_table(database, manifest, cells_of, r, counter, mode)
            for name in set(there) - set(map(table_name, resolutions)):
                database.drop_table(name)
        return url
    path = Path(unquote(text.removeprefix("file://")) if text.startswith(_FILE) else text)
    if path.name in ("", ".."):  # it could not be renamed into place
        raise OutputError(f"{str(path)!r} does not name the folder to make. Name one, such as {path / 'atlas.lance'}.")
    path = path.absolute()  # what looks like an address, md:x, is a folder, too
    with _one_line(path), _folder(path, force) as partial:
        database = lancedb.connect(partial)
        for r in resolutions:
            _write_table(database, manifest, cells_of, r, counter, "create")
    return str(path)


def _write_table(
    database: Any, manifest: Manifest, cells_of: CellsOf, res: int, counter: ProgressCounter, mode: str
) -> None:
    """Write the table of a resolution in one commit, and then its indexes."""
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
        except BaseException as error:  # LanceDB, which reads this, would tell of it in its own words
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
    coarse = manifest.dim % _CODE_DIM == 0
    codes = IvfRq(distance_type="dot", num_bits=_CODE_BITS) if coarse else IvfSq(distance_type="dot")
    table.create_index("embedding", config=codes)


def _schema(manifest: Manifest, res: int, parents: Sequence[int]) -> "pa.Schema":
    """Return the columns of a table, and in their metadata what made them."""
    import pyarrow as pa

    entry = asdict(manifest.entry(res))
    told = {
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
        # Single precision, though the values are of half: LanceDB rounds a query to what the column holds.
        "embedding": pa.list_(pa.float32(), manifest.dim),
    }
    return pa.schema(columns, {METADATA_KEY: json.dumps(told, sort_keys=True)})


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
    """Yield the names of all tables of a database that are called as ours are."""
    page = None
    while page is None or page.page_token:
        page = database.list_tables(page_token=page.page_token if page else None)
        yield from filter(_NAME.fullmatch, page.tables)


def _check_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES or not rest.strip("/"):
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise OutputError(f"{url[:80]!r} is not where tables can be; expected a folder, or a URL of {known}.")
    return url


def _check_free(where: str | Path, tables: Sequence[str], force: bool) -> None:
    if tables and not force:
        raise AtlasExistsError(
            f"There is an atlas in LanceDB at {where} already ({', '.join(sorted(tables))}). "
            "Replace it with --force, or name another place."
        )


@contextmanager
def _folder(path: Path, force: bool) -> Iterator[Path]:
    """Yield where to write; then rename it to ``path``, or remove it if something went wrong."""
    path = path.resolve() if path.is_symlink() else path
    _check_folder(path, force)
    partial = partial_path(path)
    old = partial.with_suffix(".replaced")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        yield partial
        for made in [*partial.rglob("*"), partial]:
            sync(made)
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
            _remove_for_good(partial)
        raise


def _remove_for_good(folder: Path) -> None:
    """Remove a folder that LanceDB's threads, told to stop, may still put a file into."""
    for _ in range(_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(_PAUSE_S)
        if not folder.exists():
            return


def _check_folder(path: Path, force: bool) -> None:
    """Raise AtlasExistsError if there is anything that is not to be replaced."""
    if not path.exists():
        return
    if not path.is_dir():
        raise AtlasExistsError(f"{path} is a file; it is left alone. Name a folder.")
    inside = [entry.name for entry in path.iterdir()]
    tables = [name.removesuffix(".lance") for name in inside if name.endswith(".lance")]
    if len(tables) < len(inside) or not all(map(_NAME.fullmatch, tables)):
        raise AtlasExistsError(f"{path} holds something other than tables of an atlas; it is left alone. Name another.")
    _check_free(path, tables, force)


@contextmanager
def _one_line(where: str | Path) -> Iterator[None]:
    """Raise what the file system or LanceDB says as OutputError."""
    try:
        yield
    except SatclipIndexError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError(f"{str(where)[:80]!r} could not be written: {one_line(error)}.") from None
