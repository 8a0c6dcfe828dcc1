"""Building an atlas: what it is made of, how large it is, and the manifest that makes it complete."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..atlas import Atlas, open_atlas
from ..checks import check_whole_number
from ..errors import BuildError, check_extra
from ..geo import grid
from ..progress import Progress
from ..search.index import Index
from ..search.principal_components import COMPONENTS_NAME, write_components
from ..storage.atomic import atomic_path
from ..storage.cell_files import PARQUET_BYTES_PER_ROW
from ..storage.manifest import ENCODER_NAME, FORMAT_VERSION, FileEntry, Manifest, ResolutionEntry, library_versions
from ..storage.remote import Remote, located
from ._folder_target import Target
from ._job import Engine, Job, what_rounds
from ._journal import Journal
from ._pipeline import build_parts
from ._ray_engine import on_ray
from ._thread_engine import on_threads
from ._url_target import UrlTarget

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

MAX_BUILD_RES = 9  # 4.8 billion cells; finer than any location encoder resolves
_LAND_SHARE = 0.36  # of all cells, the mask's lakes and ice included; only for the estimate
_ENGINES: dict[str, Engine] = {"threads": on_threads, "ray": on_ray}


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
    engine: Literal["threads", "ray"] = "threads",
    address: str | None = None,
    progress: Progress | None = None,
) -> Atlas:
    """Embed every cell of some resolutions and return the finished atlas.

    The same encoder, resolutions, libraries and kind of processor give the same bytes, on any number of workers, by
    either engine, interrupted or not.

    Parameters
    ----------
    path : str or Path
        The folder to make. Everything is written beside it, in ``NAME.partial``, and renamed when complete. Or a URL,
        such as ``s3://bucket/world``: there the manifest, written last, makes it complete.
    encoder : str, Path or Encoder
        What :meth:`Encoder.load` takes, or an encoder.
    res : int or sequence of int
        H3 resolutions, 0 to 9.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    land_only : bool
        Leave out cells whose centre is not land.
    force : bool
        Replace an atlas that is there, once the new one is complete, but none at a URL; start an unfinished build over
        unless ``resume``.
    resume : bool
        Go on with an unfinished build of the same atlas, if there is one; an atlas that it had just finished is opened.
    workers : int, optional
        Shards made side by side, each with memory of its own; as many as processors, up to 8, by default, and on a
        Ray cluster as many as it has.
    engine : {"threads", "ray"}
        Threads of this process, or Ray: processes here, or on the machines of a cluster.
    address : str, optional
        Of a Ray cluster, as ``ray.init`` takes it; a Ray of its own is started by default, unless RAY_ADDRESS is set.
    progress : function of (done, total), optional
        Called with cells finished so far and in all.

    Raises
    ------
    AtlasExistsError
        If an atlas is there and ``force`` is not set, the folder holds something else, or another build is under way.
    BuildError
        If an unfinished build is there and neither ``force`` nor ``resume`` is set, it is of another atlas, or workers
        of Ray keep dying. What is finished is kept.
    EncoderError, ResolutionError
        If the encoder or a resolution is not usable.
    MissingExtraError
        If Ray is asked for and not installed.
    OutputError, RemoteError
        If the disk is too small or cannot be written, or the URL cannot. What is finished is kept.
    """
    from ..encoder.location_encoder import Encoder

    resolutions = grid.check_resolutions(res, highest=MAX_BUILD_RES)
    engine_of = _engine(engine, address, workers)
    where = located(path)
    target = UrlTarget(where) if isinstance(where, Remote) else Target(where)
    may_replace = force and target.replaceable
    target.check(replace=may_replace or resume)
    encoder = encoder if isinstance(encoder, Encoder) else Encoder.load(encoder)
    kind = _kind_of(device, engine, encoder)
    recipe = _recipe(encoder, resolutions, land_only, kind)
    whole, segments = (
        of(resolutions, land_only=land_only, dim=encoder.dim) for of in (estimated_bytes, _segment_bytes)
    )
    with target.locked(whole, segments):
        if resume and target.holds_atlas() and _is_made_by(recipe, target.manifest()):
            target.forget_unfinished()
            return open_atlas(path)
        target.check(replace=may_replace or (resume and target.replaces()))
        journal = target.journal(recipe, resume=resume, force=force)
        job = Job(encoder, land_only, device if engine == "threads" else kind, target.storage(), workers, address)
        entries = build_parts(journal, job, resolutions, engine_of, progress)
        _finish(journal, job, entries)
        target.put_in_place()
    return open_atlas(path)


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


def _engine(name: str, address: str | None, workers: int | None) -> Engine:
    """Return the engine of that name, or raise BuildError if it or an option of it cannot be."""
    if name not in _ENGINES:
        raise BuildError(f"engine is {name!r}; expected {' or '.join(_ENGINES)}.")
    if address and name != "ray":
        raise BuildError("An address is that of a Ray cluster; take --engine ray with it.")
    if workers is not None:
        check_whole_number("workers", workers, error=BuildError)
    if name == "ray":
        check_extra("ray", "ray")
    return _ENGINES[name]


def _kind_of(device: str, engine: str, encoder: "Encoder") -> str:
    """Return ``cpu`` or ``cuda``; a device that cannot be used shows before anything is written."""
    from ..encoder.devices import device_kind

    if engine == "ray" and device.partition(":")[0] == "cuda":
        return "cuda"  # of the workers, who look for theirs
    encoder.encode(0.0, 0.0, device=device)
    return device_kind(device)


def _recipe(encoder: "Encoder", res: list[int], land_only: bool, kind: str) -> dict[str, Any]:
    """Return what decides the bytes of an atlas."""
    return {
        "format_version": FORMAT_VERSION,
        "encoder": f"{encoder.name} {encoder.sha256[:16]}",
        "origin": encoder.origin,
        "res": ", ".join(map(str, res)),
        "land_only": land_only,
        "device": kind,
        **what_rounds(),
    }


def _is_made_by(recipe: dict[str, Any], made: Manifest) -> bool:
    """Return whether an atlas is what a recipe makes, as far as it says."""
    told = {
        "encoder": f"{made.encoder['name']} {made.encoder['sha256'][:16]}",
        "res": ", ".join(map(str, made.resolutions)),
        "land_only": made.land_only,
    }
    return all(recipe[name] == value for name, value in told.items())


def _finish(journal: Journal, job: Job, entries: dict[int, ResolutionEntry]) -> None:
    """Write what is one for all resolutions, and the manifest last."""
    root, encoder = journal.root, job.encoder
    with atomic_path(root / ENCODER_NAME) as partial:
        encoder.save(partial)
    finest = max(entries)
    job.storage.gather(journal.parts[f"res={finest}"].files)
    components = write_components(root, Index.of_folder(root / f"res={finest}", entries[finest], encoder.dim))
    files = [file for part in journal.parts.values() for file in part.files if "/segments/" not in file.path]
    common = [FileEntry.of(root, root / name) for name in (COMPONENTS_NAME, ENCODER_NAME)]
    job.storage.keep(common)
    Manifest(
        encoder={
            "name": encoder.name,
            "sha256": encoder.sha256,
            "origin": encoder.origin,
            "hyperparameters": asdict(encoder.hyperparameters),
        },
        dim=encoder.dim,
        dtype="float16",
        land_only=job.land_only,
        resolutions=entries,
        files=tuple(sorted([*files, *common], key=lambda file: Path(file.path))),
        libraries=library_versions(),
        components=components,
    ).write(root)
