"""Building the parts of an atlas: shards in parallel, then each resolution once its shards are complete."""

from contextlib import closing
from dataclasses import asdict

from ..errors import CorruptAtlasError
from ..progress import Progress
from ..storage.manifest import FileEntry, ResolutionEntry
from ._assemble import assemble
from ._build_settings import BuildSettings, Engine
from ._journal import Journal, Part
from ._shard_storage import Files, Storage
from ._shards import Shard, shards_of


def build_parts(
    journal: Journal, settings: BuildSettings, res: list[int], engine: Engine, progress: Progress | None
) -> dict[int, ResolutionEntry]:
    """Build the parts that the journal lacks, and return the manifest entry of each resolution.

    Parameters
    ----------
    journal : Journal
        The journal of the build.
    settings : BuildSettings
        How shards are built, and where they are stored.
    res : list of int
        Resolutions, ascending.
    engine : Engine
        Runs the workers.
    progress : function of (done, total), optional
        Called with the number of finished cells, including those of an interrupted build, and the total.
    """
    shards = {r: shards_of(r) for r in res}
    _forget_damaged(journal, settings.storage, res)
    cells = {shard: shard.cell_count() for r in res for shard in shards[r]}
    missing = [shard for shard in cells if shard.name not in journal.parts]
    done, total = sum(cells.values()) - sum(cells[shard] for shard in missing), sum(cells.values())
    if progress and done:
        progress(done, total)

    def record(shard: Shard, files: Files) -> None:
        journal.add(shard.name, files)

    waiting = {r: {shard for shard in missing if shard.res == r} for r in res}
    for r in [r for r in res if not waiting[r]]:
        _assemble(journal, settings.storage, r, shards[r])
    if missing:
        with closing(engine(settings, missing, record)) as finished:
            for shard in finished:
                done += cells[shard]
                if progress:
                    progress(done, total)
                waiting[shard.res].remove(shard)
                if not waiting[shard.res]:
                    _assemble(journal, settings.storage, shard.res, shards[shard.res])
    return {r: _entry(journal.parts[f"res={r}"]) for r in res}


def _forget_damaged(journal: Journal, storage: Storage, res: list[int]) -> None:
    """Remove finished parts with missing or damaged files from the journal."""
    intact = storage.intact([file for part in journal.parts.values() for file in part.files])
    whole = {f"res={r}" for r in res if _is_intact(journal.parts.get(f"res={r}"), intact)}

    def trusted(name: str, part: Part) -> bool:
        folder = name.partition("/")[0]
        needed = [file for file in part.files if folder not in whole or "/segments/" not in file.path]
        return all(file.path in intact for file in needed)

    journal.keep_only(trusted)


def _is_intact(part: Part | None, intact: set[str]) -> bool:
    return part is not None and all(file.path in intact for file in part.files)


def _assemble(journal: Journal, storage: Storage, res: int, shards: list[Shard]) -> None:
    """Assemble a resolution unless it is finished, and remove its segments."""
    folder = journal.root / f"res={res}"
    if folder.name not in journal.parts:
        segments = [file for shard in shards for file in journal.parts[shard.name].files if file.path == shard.segment]
        if not segments:
            raise CorruptAtlasError(
                f"No cell of resolution {res} is on land, so there is nothing to build. "
                "Choose a finer --res, or build without --land-only."
            )
        storage.fetch(segments)
        entry = assemble(folder, res, [journal.root / segment.path for segment in segments])
        files = tuple(FileEntry.of(journal.root, folder / name) for name in ("index.faiss", "tree.safetensors"))
        storage.store(files)
        journal.add(folder.name, files, asdict(entry))
    storage.remove_segments(res)


def _entry(part: Part) -> ResolutionEntry:
    lists = {name: tuple(part.details[name]) for name in ("similarity_levels", "similarity_quantiles")}
    return ResolutionEntry(**part.details | lists)
