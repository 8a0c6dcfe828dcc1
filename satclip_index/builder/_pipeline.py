"""The parts of an atlas: shards side by side, and each resolution put together once its shards are there."""

from contextlib import closing
from dataclasses import asdict

from ..errors import CorruptAtlasError
from ..progress import Progress
from ..storage.manifest import FileEntry, ResolutionEntry
from ._assemble import assemble
from ._job import Engine, Job
from ._journal import Journal, Part
from ._shard_storage import Files, Storage
from ._shards import Shard, shards_of


def build_parts(
    journal: Journal, job: Job, res: list[int], engine: Engine, progress: Progress | None
) -> dict[int, ResolutionEntry]:
    """Make whatever of an atlas the journal has not, and return what the manifest says of each resolution.

    Parameters
    ----------
    journal : Journal
        Of the folder it is made in.
    job : Job
        How shards are made, and where they are kept.
    res : list of int
        Resolutions, ascending.
    engine : Engine
        Which makes them.
    progress : function of (done, total), optional
        Called with cells finished so far, an earlier build's among them, and in all.
    """
    shards = {r: shards_of(r) for r in res}
    _forget_damaged(journal, job.storage, res)
    cells = {shard: shard.cell_count() for r in res for shard in shards[r]}
    missing = [shard for shard in cells if shard.name not in journal.parts]
    done, total = sum(cells.values()) - sum(cells[shard] for shard in missing), sum(cells.values())
    if progress and done:
        progress(done, total)

    def record(shard: Shard, files: Files) -> None:
        journal.add(shard.name, files)

    waiting = {r: {shard for shard in missing if shard.res == r} for r in res}
    for r in [r for r in res if not waiting[r]]:
        _assemble(journal, job.storage, r, shards[r])
    if missing:
        with closing(engine(job, missing, record)) as finished:
            for shard in finished:
                done += cells[shard]
                if progress:
                    progress(done, total)
                waiting[shard.res].remove(shard)
                if not waiting[shard.res]:
                    _assemble(journal, job.storage, shard.res, shards[shard.res])
    return {r: _entry(journal.parts[f"res={r}"]) for r in res}


def _forget_damaged(journal: Journal, storage: Storage, res: list[int]) -> None:
    """Forget finished parts whose files are not what was written."""
    there = storage.whole([file for part in journal.parts.values() for file in part.files])
    whole = {f"res={r}" for r in res if _is_there(journal.parts.get(f"res={r}"), there)}

    def trusted(name: str, part: Part) -> bool:
        folder = name.partition("/")[0]
        needed = [file for file in part.files if folder not in whole or "/segments/" not in file.path]
        return all(file.path in there for file in needed)

    journal.keep(trusted)


def _is_there(part: Part | None, there: set[str]) -> bool:
    return part is not None and all(file.path in there for file in part.files)


def _assemble(journal: Journal, storage: Storage, res: int, shards: list[Shard]) -> None:
    """Put a resolution together, unless it is, and remove its segments."""
    folder = journal.root / f"res={res}"
    if folder.name not in journal.parts:
        segments = [file for shard in shards for file in journal.parts[shard.name].files if file.path == shard.segment]
        if not segments:
            raise CorruptAtlasError(f"No cell of resolution {res} is land; nothing can be built of it.")
        storage.gather(segments)
        entry = assemble(folder, res, [journal.root / segment.path for segment in segments])
        files = tuple(FileEntry.of(journal.root, folder / name) for name in ("index.faiss", "tree.safetensors"))
        storage.keep(files)
        journal.add(folder.name, files, asdict(entry))
    storage.drop_segments(res)


def _entry(part: Part) -> ResolutionEntry:
    lists = {name: tuple(part.said[name]) for name in ("similarity_levels", "similarity_quantiles")}
    return ResolutionEntry(**part.said | lists)
