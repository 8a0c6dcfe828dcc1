"""The parts of an atlas: shards side by side, and each resolution put together once its shards are there."""

import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import asdict
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from . import grid
from .assemble import assemble
from .callbacks import Progress
from .errors import CorruptAtlasError
from .journal import Journal, Part
from .land import is_land
from .manifest import FileEntry, ResolutionEntry
from .shards import Encode, Shard, build_shard, shards_of

if TYPE_CHECKING:
    from .encoder import Encoder


def build_parts(
    journal: Journal,
    encoder: "Encoder",
    res: list[int],
    land_only: bool,
    device: str,
    workers: int,
    progress: Progress | None,
) -> dict[int, ResolutionEntry]:
    """Make whatever of an atlas the journal has not, and return what the manifest says of each resolution.

    Parameters
    ----------
    journal : Journal
        Of the folder it is made in.
    encoder : Encoder
    res : list of int
        Resolutions, ascending.
    land_only : bool
        Leave out cells whose centre is not land.
    device : str
        Where to encode.
    workers : int
        Shards made side by side.
    progress : function of (done, total), optional
        Called with cells finished so far, an earlier build's among them, and in all.
    """
    root, shards = journal.root, {r: shards_of(r) for r in res}
    _forget_damaged(journal, shards)
    for r in res:
        for name in ("cells", "segments"):
            (root / f"res={r}" / name).mkdir(parents=True, exist_ok=True)
    cells = {shard: shard.cell_count() for r in res for shard in shards[r]}
    missing = [shard for shard in cells if shard.name not in journal.parts]
    done, total = sum(cells.values()) - sum(cells[shard] for shard in missing), sum(cells.values())
    if progress and done:
        progress(done, total)
    is_land(np.zeros(1), np.zeros(1))  # the mask is read once, not by every worker
    with _encoding(encoder, device, workers) as encode:

        def work(shard: Shard) -> None:
            journal.add(shard.name, build_shard(root, shard, encoder, encode, land_only=land_only))

        waiting = {r: {shard for shard in missing if shard.res == r} for r in res}
        for r in [r for r in res if not waiting[r]]:
            _assemble(journal, r, shards[r])
        with closing(_side_by_side(work, missing, workers)) as finished:
            for shard in finished:
                done += cells[shard]
                if progress:
                    progress(done, total)
                waiting[shard.res].remove(shard)
                if not waiting[shard.res]:
                    _assemble(journal, shard.res, shards[shard.res])
    return {r: _entry(journal.parts[f"res={r}"]) for r in res}


def _forget_damaged(journal: Journal, shards: dict[int, list[Shard]]) -> None:
    """Forget finished parts whose files are not, byte for byte, what was written."""
    there = {
        file.path
        for part in journal.parts.values()
        for file in part.files
        if (journal.root / file.path).is_file() and FileEntry.of(journal.root, journal.root / file.path) == file
    }
    whole = {f"res={r}" for r in shards if _is_there(journal.parts.get(f"res={r}"), there)}

    def trusted(name: str, part: Part) -> bool:
        folder = name.partition("/")[0]
        needed = [file for file in part.files if folder not in whole or "/segments/" not in file.path]
        return all(file.path in there for file in needed)

    journal.keep(trusted)


def _is_there(part: Part | None, there: set[str]) -> bool:
    return part is not None and all(file.path in there for file in part.files)


@contextmanager
def _encoding(encoder: "Encoder", device: str, workers: int) -> Iterator[Encode]:
    """Yield a way to encode that many threads may use.

    On processors, a few thousand cells of whichever shard are a piece of work, so that one large shard keeps all of
    them busy, and encoding goes on while another shard is written. On a GPU, shards take turns.
    """
    from .steady import one_thread_each
    from .tiles import CellEncoder

    cell_encoder, turn = CellEncoder(encoder, device=device), Lock()

    with one_thread_each(), ThreadPoolExecutor(workers) as pool:

        def encode(cells: grid.Cells, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
            if cell_encoder.on_gpu:
                with turn:
                    return cell_encoder.encode(cells, lon, lat)
            return cell_encoder.encode(cells, lon, lat, each=pool.map)

        yield encode


def _side_by_side(work: Callable[[Shard], None], shards: list[Shard], workers: int) -> Generator[Shard]:
    """Yield each shard once its work is done; where that fails or the caller stops, those begun are finished."""
    with ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(work, shard): shard for shard in shards}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def _assemble(journal: Journal, res: int, shards: list[Shard]) -> None:
    """Put a resolution together, unless it is, and remove its segments."""
    folder = journal.root / f"res={res}"
    if folder.name not in journal.parts:
        segments = [shard.segment for shard in shards if journal.parts[shard.name].files]
        if not segments:
            raise CorruptAtlasError(f"No cell of resolution {res} is land; nothing can be built of it.")
        entry = assemble(folder, res, [journal.root / segment for segment in segments])
        files = [folder / "index.faiss", folder / "tree.safetensors"]
        journal.add(folder.name, tuple(FileEntry.of(journal.root, file) for file in files), asdict(entry))
    shutil.rmtree(folder / "segments", ignore_errors=True)


def _entry(part: Part) -> ResolutionEntry:
    lists = {name: tuple(part.said[name]) for name in ("similarity_levels", "similarity_quantiles")}
    return ResolutionEntry(**part.said | lists)
