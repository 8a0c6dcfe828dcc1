"""Building an atlas: every cell encoded, shard by shard, into Parquet, index and tree."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import grid
from .atlas import Atlas, open_atlas
from .callbacks import Progress
from .components import write_components
from .errors import AtlasExistsError, CorruptAtlasError, OutputError, ResolutionError, SatclipIndexError
from .land import is_land
from .manifest import ENCODER_NAME, MANIFEST_NAME, FileEntry, Manifest, ResolutionEntry, library_versions
from .search.bulk import IndexWriter
from .search.engine import Filter
from .search.index import Index
from .search.tree import TreeBuilder
from .search.vectors import Vectors
from .store import PARQUET_BYTES_PER_ROW, write_shard

if TYPE_CHECKING:
    from .encoder import Encoder

MAX_BUILD_RES = 9  # 4.8 billion cells; finer than any location encoder resolves
_LAND_SHARE = 0.36  # of all cells, the mask's lakes and ice included; only for the estimate
_LISTS_ABOVE = 2  # inverted lists are ancestors so far up, of at most 49 rows
_LEVELS = np.concatenate(
    [[0, 0.0001, 0.0005, 0.001, 0.005], np.arange(1, 100) / 100, [0.995, 0.999, 0.9995, 0.9999, 1]]
)


def build_atlas(
    path: str | Path = "atlas",
    *,
    encoder: "str | Path | Encoder" = "bluemarble",
    res: int | Sequence[int] = (3, 4),
    device: str = "auto",
    land_only: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Atlas:
    """Embed every cell of some resolutions and return the finished atlas.

    Parameters
    ----------
    path : str or Path
        The folder to make. Everything is written beside it, in ``NAME.partial``, and renamed when complete.
    encoder : str, Path or Encoder
        What :meth:`Encoder.load` takes, or an encoder.
    res : int or sequence of int
        H3 resolutions, 0 to 9.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    land_only : bool
        Leave out cells whose centre is not land.
    force : bool
        Replace an atlas that is there, once the new one is complete.
    progress : function of (done, total), optional
        Called with cells encoded so far and in all.

    Raises
    ------
    AtlasExistsError
        If an atlas is there and ``force`` is not set, the folder holds something else, or another build is under way.
    EncoderError, ResolutionError
        If the encoder or a resolution is not usable.
    OutputError
        If the disk is too small or cannot be written.
    """
    from .encoder import Encoder

    path = Path(path)
    wanted = sorted({grid.check_res(r, highest=MAX_BUILD_RES) for r in np.atleast_1d(np.asarray(res, dtype=object))})
    if not wanted:
        raise ResolutionError("No resolution was given; expected at least one from 0 to 9.")
    path = _behind_link(path)
    _check_target(path, force)
    encoder = encoder if isinstance(encoder, Encoder) else Encoder.load(encoder)
    encoder.encode(0.0, 0.0, device=device)  # a device that cannot be used shows before anything is written
    with _partial_folder(path, estimated_bytes(wanted, land_only=land_only), force) as partial:
        total = sum(map(grid.cell_count, wanted))
        entries: dict[int, ResolutionEntry] = {}
        for r in wanted:
            before = sum(map(grid.cell_count, entries))

            def report(done: int, before: int = before) -> None:
                if progress:
                    progress(before + done, total)

            entries[r] = _build_res(partial, encoder, r, device, land_only, report)
        encoder.save(partial / ENCODER_NAME)
        manifest = Manifest(
            encoder={
                "name": encoder.name,
                "sha256": encoder.sha256,
                "origin": encoder.origin,
                "hyperparameters": asdict(encoder.hyperparameters),
            },
            dim=encoder.dim,
            dtype="float16",
            land_only=land_only,
            resolutions=entries,
            files=(),
            libraries=library_versions(),
            components={},
        )
        indexes = [Index.open(partial, manifest, r) for r in wanted]
        for index in indexes:
            _check_search(index)
        fitted = write_components(partial, indexes[-1])
        files = sorted(file for file in partial.rglob("*") if file.is_file())
        for file in files:
            _sync(file)
        manifest = replace(manifest, components=fitted, files=tuple(FileEntry.of(partial, file) for file in files))
        manifest.write(partial)
        _sync(partial / MANIFEST_NAME)
        _put_in_place(partial, path)
    return open_atlas(path)


def estimated_bytes(res: Sequence[int], *, land_only: bool = False, dim: int = 256) -> int:
    """Return about how many bytes an atlas of some resolutions takes on disk."""
    index_bytes_per_row = 2 * dim + 8 + 4 * dim / 49  # code, id, and a 49th of a list's centroid
    index_bytes_per_row += 33 + (2 * dim + 81) / 6  # the row in the tree, and about a sixth of a node
    rows = sum(map(grid.cell_count, res)) * (_LAND_SHARE if land_only else 1.0)
    return int(rows * (PARQUET_BYTES_PER_ROW * dim / 256 + index_bytes_per_row))


def _build_res(
    root: Path, encoder: "Encoder", res: int, device: str, land_only: bool, progress: Callable[[int], None]
) -> ResolutionEntry:
    """Write one resolution below ``root`` and return what the manifest says of it."""
    from .encoder import unit_half

    folder = root / f"res={res}"
    (folder / "cells").mkdir(parents=True)
    list_res = max(0, res - _LISTS_ABOVE)
    described = {
        "model": encoder.name,
        "model_sha256": encoder.sha256,
        "dimensions": encoder.dim,
        "data_type": "float16",
        "normalized": True,
        "h3_resolution": res,
    }
    shards = _plan(res, land_only)
    index = IndexWriter(encoder.dim, sum(np.unique(grid.ancestors(cells, list_res)).size for _, _, cells, *_ in shards))
    tree, done = TreeBuilder(res), 0
    for number, whole, cells, lon, lat, land in shards:
        embedding, norm = unit_half(encoder.encode(lon, lat, device=device))
        write_shard(
            folder / "cells" / f"part-{number:05}.parquet",
            cells=cells,
            lon=lon,
            lat=lat,
            land=land,
            norm=norm,
            embedding=embedding,
            described=described,
        )
        tree.add(cells, embedding, lon, lat, land)
        index.add(embedding, *tree.last_lists(list_res))
        done += whole
        progress(done)
    finished = tree.finish()
    finished.write(folder / "tree.safetensors")
    offset = index.write(folder / "index.faiss")
    vectors = Vectors(folder / "index.faiss", offset, finished.starts(list_res), encoder.dim)
    land_rows = np.flatnonzero(finished.rows.land)
    return ResolutionEntry(
        count=len(vectors),
        land_count=land_rows.size,
        list_res=list_res,
        codes_offset=offset,
        similarity_levels=tuple(_LEVELS.tolist()),
        similarity_quantiles=_quantiles(vectors, land_rows),
    )


def _plan(
    res: int, land_only: bool
) -> list[tuple[int, int, grid.Cells, NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]]:
    """Return, for each shard that has rows: number, cells before leaving the sea out, cells, lon, lat, land."""
    shards = []
    for number, roots in enumerate(grid.shard_roots(res)):
        cells = grid.descendants(roots, res)
        lon, lat = grid.cell_centers(cells)
        land = is_land(lon, lat)
        rows = land if land_only else np.ones(cells.size, dtype=bool)
        if rows.any():
            shards.append((number, cells.size, cells[rows], lon[rows], lat[rows], land[rows]))
    return shards


def _check_search(index: Index) -> None:
    """Ask a finished resolution for the neighbours of a few rows; the tree must answer as comparing with all does.

    It also compiles the search, once for this machine, so that the first question need not wait for that.
    """
    for row in np.unique(np.linspace(0, len(index) - 1, 3).astype(np.int64)):
        query = index.vectors.of_rows(np.array([row]))[0]
        similarity = index.engine.scan(query)
        expected = np.lexsort((np.arange(similarity.size), -similarity))[:10]
        if not np.array_equal(index.engine.top(query, 10, Filter()).rows, expected):
            raise CorruptAtlasError(
                f"The new atlas answers wrongly at row {row} of {len(index)}; nothing is kept. Please report it."
            )


def _quantiles(vectors: Vectors, land_rows: NDArray[np.int64]) -> tuple[float, ...]:
    """Return the quantiles of the similarity of random pairs of land cells, over at most 2,048 of them."""
    rng = np.random.default_rng(0)
    rows = (
        np.sort(rng.choice(land_rows, size=min(2048, land_rows.size), replace=False)) if land_rows.size else land_rows
    )
    sample = vectors.of_rows(rows)
    upper = (sample @ sample.T)[np.triu_indices(rows.size, k=1)]
    if not upper.size:
        return tuple(np.linspace(-1, 1, _LEVELS.size).tolist())
    return tuple(np.maximum.accumulate(np.quantile(upper.astype(np.float64), _LEVELS)).tolist())


def _check_target(path: Path, force: bool) -> None:
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise OutputError(f"{str(path)[:80]!r} cannot be a folder: {getattr(error, 'strerror', error)}.") from None
    if path.name in ("", ".."):  # it could not be renamed into place
        raise OutputError(f"{str(path)!r} does not name the folder to make. Name one, such as {path / 'atlas'}.")
    if not there:
        return
    if (path / MANIFEST_NAME).is_file():
        if not force:
            raise AtlasExistsError(
                f"There is an atlas at {path}/ already. Replace it with --force, or name another folder."
            )
    elif not path.is_dir() or any(path.iterdir()):
        raise AtlasExistsError(f"{path} exists and is not an atlas; it is left alone. Name another folder.")


@contextmanager
def _partial_folder(path: Path, need: int, force: bool) -> Iterator[Path]:
    """Yield a locked, empty folder beside ``path``; whatever goes wrong, it is gone afterwards."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free >= need:
            lock = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"Cannot write beside {path}: {reason}. Name another folder with --atlas.") from None
    if free < need:
        raise OutputError(f"The atlas needs about {need / 1e9:.1f} GB; {free / 1e9:.1f} GB are free at {path.parent}.")
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink == 0:
                raise OSError("the builder that held the lock has just finished")
        except OSError:
            raise AtlasExistsError(
                f"Another build of {path}/ is under way. Wait for it, or name another folder."
            ) from None
        try:
            _recover(path)
            _check_target(path, force)  # another builder may have finished just before the lock was free
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            yield partial
        except SatclipIndexError:
            raise
        except OSError as error:
            raise OutputError(f"The atlas could not be written to {path}: {error.strerror or error}.") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    finally:
        os.close(lock)


def _behind_link(path: Path) -> Path:
    """Return the folder that a link leads to, or the path as it is."""
    with suppress(OSError, ValueError):  # what is wrong with a path is said when it is checked
        return path.resolve() if path.is_symlink() else path
    return path


def _recover(path: Path) -> None:
    """Put back an atlas that a build was killed in the moment of replacing; only who holds the lock may."""
    old = path.with_name(f"{path.name}.old")
    if not path.exists() and (old / MANIFEST_NAME).is_file():
        old.rename(path)


def _put_in_place(partial: Path, path: Path) -> None:
    """Rename the finished folder; an old atlas is set aside first and removed last."""
    _sync(partial)
    old = path.with_name(f"{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make sure that a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
