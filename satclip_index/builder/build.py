"""Building an atlas: the steps, the estimated size and the manifest."""

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
from ..storage.remote import Remote, parse_location
from ._build_settings import BuildSettings, Engine, rounding_environment
from ._folder_target import FolderTarget
from ._journal import Journal
from ._pipeline import build_parts
from ._ray_engine import run_on_ray
from ._thread_engine import run_on_threads
from ._url_target import UrlTarget

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

MAX_BUILD_RES = 9  # 4.8 billion cells; finer than the detail of any location encoder
_LAND_SHARE = 0.36  # of all cells, with lakes and ice as in the land mask; only for estimates
_ENGINES: dict[str, Engine] = {"threads": run_on_threads, "ray": run_on_ray}


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
    """Build an atlas: encode every cell of one or more resolutions.

    The same encoder, resolutions, library versions and kind of processor give the same bytes, with any number of
    workers, either engine, and after interruptions.

    Parameters
    ----------
    path : str or Path
        The new folder; files are written to ``NAME.partial`` next to it, which is renamed when complete. Or a URL, such
        as ``s3://bucket/world``, where the manifest is written last.
    encoder : str, Path or Encoder
        An encoder, or an argument of :meth:`Encoder.load`.
    res : int or sequence of int
        H3 resolutions, 0 to 9.
    device : str
        ``cpu``, ``cuda`` or ``auto``.
    land_only : bool
        Leave out cells whose center is not on land.
    force : bool
        Replace an existing atlas once the new one is complete (not at a URL). Discard an unfinished build, unless
        ``resume`` is set.
    resume : bool
        Continue an unfinished build of the same atlas, if any. If that build is complete, open the atlas.
    workers : int, optional
        Number of shards built in parallel; each needs its own memory. By default one per CPU core, at most 8; on a Ray
        cluster, all it has.
    engine : {"threads", "ray"}
        Run workers as threads, or as Ray processes on this machine or a cluster.
    address : str, optional
        Address of a Ray cluster, as for ``ray.init``. By default RAY_ADDRESS, or a local Ray.
    progress : function of (done, total), optional
        Called with the number of finished cells and the total.

    Raises
    ------
    AtlasExistsError
        If an atlas exists and ``force`` is not set, the folder contains something else, or another build is running.
    BuildError
        If there is an unfinished build and neither ``force`` nor ``resume`` is set, it has other settings, or Ray
        workers keep dying. Finished parts are kept.
    EncoderError, ResolutionError
        If the encoder or a resolution is invalid.
    MissingExtraError
        If the Ray engine is selected and Ray is not installed.
    OutputError, RemoteError
        If the disk is too small, or files cannot be written. Finished parts are kept.
    """
    from ..encoder.location_encoder import Encoder

    resolutions = grid.check_resolutions(res, highest=MAX_BUILD_RES)
    engine_of = _engine(engine, address, workers)
    where = parse_location(path)
    target = UrlTarget(where) if isinstance(where, Remote) else FolderTarget(where)
    may_replace = force and target.replaceable
    target.check(replace=may_replace or resume)
    encoder = encoder if isinstance(encoder, Encoder) else Encoder.load(encoder)
    kind = _device_type(device, engine, encoder)
    recipe = _recipe(encoder, resolutions, land_only, kind)
    whole, segments = (
        of(resolutions, land_only=land_only, dim=encoder.dim) for of in (estimated_bytes, _segment_bytes)
    )
    with target.locked(whole, segments):
        if resume and target.holds_atlas() and _is_built_by(recipe, target.manifest()):
            target.remove_unfinished()
            return open_atlas(path)
        target.check(replace=may_replace or (resume and target.replaces()))
        journal = target.journal(recipe, resume=resume, force=force)
        settings = BuildSettings(
            encoder, land_only, device if engine == "threads" else kind, target.storage(), workers, address
        )
        entries = build_parts(journal, settings, resolutions, engine_of, progress)
        _finish(journal, settings, entries)
        target.put_in_place()
    return open_atlas(path)


def estimated_bytes(res: Sequence[int], *, land_only: bool = False, dim: int = 256) -> int:
    """Return the approximate size on disk of an atlas, in bytes."""
    index_bytes_per_row = 2 * dim + 8 + 4 * dim / 49  # code, id, and 1/49 of the centroid of a list
    index_bytes_per_row += _tree_bytes_per_row(dim)
    rows = sum(map(grid.cell_count, res)) * (_LAND_SHARE if land_only else 1.0)
    return int(rows * (PARQUET_BYTES_PER_ROW * dim / 256 + index_bytes_per_row))


def _segment_bytes(res: Sequence[int], *, land_only: bool, dim: int) -> int:
    """Return the approximate size of the segments of the finest resolution, in bytes: temporary files of a build."""
    rows = grid.cell_count(max(res)) * (_LAND_SHARE if land_only else 1.0)
    return int(rows * (2 * dim + _tree_bytes_per_row(dim)))


def _tree_bytes_per_row(dim: int) -> float:
    return 33 + (2 * dim + 81) / 6  # the row, and about a sixth of a node


def _engine(name: str, address: str | None, workers: int | None) -> Engine:
    """Return an engine by name, or raise BuildError if the name or an option is invalid."""
    if name not in _ENGINES:
        raise BuildError(f"engine is {name!r}; expected {' or '.join(_ENGINES)}.")
    if address and name != "ray":
        raise BuildError("--address is the address of a Ray cluster; it needs --engine ray.")
    if workers is not None:
        check_whole_number("workers", workers, error=BuildError)
    if name == "ray":
        check_extra("ray", "ray")
    return _ENGINES[name]


def _device_type(device: str, engine: str, encoder: "Encoder") -> str:
    """Return ``cpu`` or ``cuda``, and raise EncoderError before anything is written if the device cannot be used."""
    from ..encoder.devices import device_type

    if engine == "ray" and device.partition(":")[0] == "cuda":
        return "cuda"  # the workers check their own devices
    encoder.encode(0.0, 0.0, device=device)
    return device_type(device)


def _recipe(encoder: "Encoder", res: list[int], land_only: bool, kind: str) -> dict[str, Any]:
    """Return everything that determines the bytes of an atlas."""
    return {
        "format_version": FORMAT_VERSION,
        "encoder": f"{encoder.name} {encoder.sha256[:16]}",
        "origin": encoder.origin,
        "res": ", ".join(map(str, res)),
        "land_only": land_only,
        "device": kind,
        **rounding_environment(),
    }


def _is_built_by(recipe: dict[str, Any], manifest: Manifest) -> bool:
    """Return whether the manifest of an atlas matches a recipe."""
    recorded = {
        "encoder": f"{manifest.encoder['name']} {manifest.encoder['sha256'][:16]}",
        "res": ", ".join(map(str, manifest.resolutions)),
        "land_only": manifest.land_only,
    }
    return all(recipe[name] == value for name, value in recorded.items())


def _finish(journal: Journal, settings: BuildSettings, entries: dict[int, ResolutionEntry]) -> None:
    """Write the files that resolutions share, and the manifest last."""
    root, encoder = journal.root, settings.encoder
    with atomic_path(root / ENCODER_NAME) as partial:
        encoder.save(partial)
    finest = max(entries)
    settings.storage.fetch(journal.parts[f"res={finest}"].files)
    components = write_components(root, Index.of_folder(root / f"res={finest}", entries[finest], encoder.dim))
    files = [file for part in journal.parts.values() for file in part.files if "/segments/" not in file.path]
    common = [FileEntry.of(root, root / name) for name in (COMPONENTS_NAME, ENCODER_NAME)]
    settings.storage.store(common)
    Manifest(
        encoder={
            "name": encoder.name,
            "sha256": encoder.sha256,
            "origin": encoder.origin,
            "hyperparameters": asdict(encoder.hyperparameters),
        },
        dim=encoder.dim,
        dtype="float16",
        land_only=settings.land_only,
        resolutions=entries,
        files=tuple(sorted([*files, *common], key=lambda file: Path(file.path))),
        libraries=library_versions(),
        components=components,
    ).write(root)
