"""Building an atlas: what it is made of, how large it is, and the manifest that makes it complete."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import grid
from .atlas import Atlas, open_atlas
from .callbacks import Progress
from .components import COMPONENTS_NAME, write_components
from .durable import replacing
from .errors import BuildError, ResolutionError
from .journal import Journal
from .manifest import ENCODER_NAME, FORMAT_VERSION, FileEntry, Manifest, ResolutionEntry, library_versions
from .parts import build_parts
from .processors import processors
from .search.index import Index
from .store import PARQUET_BYTES_PER_ROW
from .target import Target

if TYPE_CHECKING:
    from .encoder import Encoder

MAX_BUILD_RES = 9  # 4.8 billion cells; finer than any location encoder resolves
_LAND_SHARE = 0.36  # of all cells, the mask's lakes and ice included; only for the estimate
_MOST_WORKERS = 8  # by themselves: they share one interpreter, and a tenth of encoding is its own


def build_atlas(
    path: str | Path = "atlas",
    *,
    encoder: "str | Path | Encoder" = "bluemarble",
    res: int | Sequence[int] = (3, 4),
    device: str = "auto",
    land_only: bool = False,
    force: bool = False,
    resume: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Atlas:
    """Embed every cell of some resolutions and return the finished atlas.

    The same encoder, resolutions, libraries and kind of processor give the same bytes, on any number of workers,
    interrupted or not.

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
        Replace an atlas that is there, once the new one is complete; start an unfinished build over unless ``resume``.
    resume : bool
        Go on with an unfinished build of the same atlas, if there is one; an atlas that it had just finished is opened.
    workers : int, optional
        Shards made side by side, each with memory of its own; as many as processors, up to 8,
        by default.
    progress : function of (done, total), optional
        Called with cells finished so far and in all.

    Raises
    ------
    AtlasExistsError
        If an atlas is there and ``force`` is not set, the folder holds something else, or another build is under way.
    BuildError
        If an unfinished build is there and neither ``force`` nor ``resume`` is set, or it is of another atlas.
    EncoderError, ResolutionError
        If the encoder or a resolution is not usable.
    OutputError
        If the disk is too small or cannot be written. What is finished is kept.
    """
    from .encoder import Encoder

    wanted = sorted({grid.check_res(r, highest=MAX_BUILD_RES) for r in np.atleast_1d(np.asarray(res, dtype=object))})
    if not wanted:
        raise ResolutionError("No resolution was given; expected at least one from 0 to 9.")
    workers = _check_workers(workers)
    target = Target(Path(path))
    target.check(replace=force or resume)
    encoder = encoder if isinstance(encoder, Encoder) else Encoder.load(encoder)
    encoder.encode(0.0, 0.0, device=device)  # a device that cannot be used shows before anything is written
    recipe = _recipe(encoder, wanted, land_only, device)
    need = estimated_bytes(wanted, land_only=land_only, dim=encoder.dim)
    need += _segment_bytes(wanted, land_only=land_only, dim=encoder.dim)
    with target.locked(need):
        if resume and target.holds_atlas() and _is_made_by(recipe, target.path):
            shutil.rmtree(target.partial, ignore_errors=True)
            return open_atlas(target.path)
        target.check(replace=force or (resume and target.replaces()))
        journal = target.journal(recipe, resume=resume, force=force)
        entries = build_parts(journal, encoder, wanted, land_only, device, workers, progress)
        _finish(journal, encoder, entries, land_only)
        target.put_in_place()
    return open_atlas(target.path)


def estimated_bytes(res: Sequence[int], *, land_only: bool = False, dim: int = 256) -> int:
    """Return about how many bytes an atlas of some resolutions takes on disk."""
    index_bytes_per_row = 2 * dim + 8 + 4 * dim / 49  # code, id, and a 49th of a list's centroid
    index_bytes_per_row += _tree_bytes_per_row(dim)
    rows = sum(map(grid.cell_count, res)) * (_LAND_SHARE if land_only else 1.0)
    return int(rows * (PARQUET_BYTES_PER_ROW * dim / 256 + index_bytes_per_row))


def _segment_bytes(res: Sequence[int], *, land_only: bool, dim: int) -> int:
    """Return about how many bytes more a build takes before its finest resolution is put together."""
    rows = grid.cell_count(max(res)) * (_LAND_SHARE if land_only else 1.0)
    return int(rows * (2 * dim + _tree_bytes_per_row(dim)))


def _tree_bytes_per_row(dim: int) -> float:
    return 33 + (2 * dim + 81) / 6  # the row, and about a sixth of a node


def _check_workers(workers: int | None) -> int:
    if workers is None:
        return min(_MOST_WORKERS, processors())
    if isinstance(workers, bool) or not isinstance(workers, int | np.integer) or workers < 1:
        raise BuildError(f"workers is {workers!r}; expected a whole number of at least 1.")
    return int(workers)


def _recipe(encoder: "Encoder", res: list[int], land_only: bool, device: str) -> dict[str, Any]:
    """Return what decides the bytes of an atlas."""
    from .encoder import device_kind, processor

    return {
        "format_version": FORMAT_VERSION,
        "encoder": f"{encoder.name} {encoder.sha256[:16]}",
        "origin": encoder.origin,
        "res": ", ".join(map(str, res)),
        "land_only": land_only,
        "device": device_kind(device),
        "processor": processor(),
        "libraries": library_versions() | library_versions(["global-land-mask", "safetensors", "numba"]),
    }


def _is_made_by(recipe: dict[str, Any], path: Path) -> bool:
    """Return whether the atlas in a folder is what a recipe makes, as far as it says."""
    made = Manifest.read(path)
    told = {
        "encoder": f"{made.encoder['name']} {made.encoder['sha256'][:16]}",
        "res": ", ".join(map(str, made.resolutions)),
        "land_only": made.land_only,
    }
    return all(recipe[name] == value for name, value in told.items())


def _finish(journal: Journal, encoder: "Encoder", entries: dict[int, ResolutionEntry], land_only: bool) -> None:
    """Write what is one for all resolutions, and the manifest last."""
    root = journal.root
    with replacing(root / ENCODER_NAME) as partial:
        encoder.save(partial)
    finest = max(entries)
    components = write_components(root, Index.of_folder(root / f"res={finest}", entries[finest], encoder.dim))
    files = [file for part in journal.parts.values() for file in part.files if "/segments/" not in file.path]
    files += [FileEntry.of(root, root / name) for name in (COMPONENTS_NAME, ENCODER_NAME)]
    Manifest(
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
        files=tuple(sorted(files, key=lambda file: Path(file.path))),
        libraries=library_versions(),
        components=components,
    ).write(root)
