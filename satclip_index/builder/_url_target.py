"""The URL that an atlas is made at: locked as well as can be, kept when a build is interrupted, the manifest last."""

import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import AtlasExistsError, BuildError, CorruptAtlasError, OutputError, RemoteError, one_line
from ..search.principal_components import COMPONENTS_NAME
from ..storage.manifest import ENCODER_NAME, MANIFEST_NAME, FileEntry, Manifest
from ..storage.remote import AT_ONCE, Remote
from ._folder_target import check_room, check_same, unfinished
from ._journal import JOURNAL_NAME, Journal
from ._shard_storage import Files, Make

LOCK_NAME = "build.lock"


@dataclass(frozen=True, slots=True)
class AtUrl:
    """Files at a URL; ``root`` is a scratch folder of the machine that puts the atlas together."""

    remote: Remote
    root: Path

    def reachable(self) -> bool:
        """Return whether the journal is there."""
        return JOURNAL_NAME in self.remote.sizes()

    def write(self, make: Make) -> Files:
        """Let files be made in a scratch folder of this machine, and put them to the URL."""
        with TemporaryDirectory(prefix="satclip-index-") as scratch:
            files = make(Path(scratch))
            for file in files:
                self.remote.put(Path(scratch) / file.path, file.path)
        return files

    def whole(self, files: Iterable[FileEntry]) -> set[str]:
        """Return the paths of those that have the size that was written; more is known when they are fetched."""
        sizes = self.remote.sizes()
        return {file.path for file in files if sizes.get(file.path) == file.size}

    def gather(self, files: Iterable[FileEntry]) -> None:
        """Fetch files that the scratch folder has not; a damaged one is removed, so that it is made again."""

        def fetch(file: FileEntry) -> None:
            path = self.root / file.path
            if path.is_file() and path.stat().st_size == file.size:
                return
            try:
                self.remote.get(file, self.root)
            except CorruptAtlasError as error:
                self.remote.remove([file.path])
                raise CorruptAtlasError(f"{str(error).partition('. ')[0]}. Make it again with --resume.") from None

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(fetch, files))

    def keep(self, files: Iterable[FileEntry]) -> None:
        """Put files to the URL."""
        for file in files:
            self.remote.put(self.root / file.path, file.path)

    def drop_segments(self, res: int) -> None:
        """Remove the segments at the URL and those that were fetched."""
        shutil.rmtree(self.root / f"res={res}" / "segments", ignore_errors=True)
        self.remote.remove(name for name in self.remote.sizes() if name.startswith(f"res={res}/segments/"))


class UrlTarget:
    """Where an atlas is to be; object stores cannot rename, so it is made there, and complete with its manifest.

    Parameters
    ----------
    remote : Remote
    """

    replaceable = False

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._root = Path()

    def check(self, *, replace: bool) -> None:
        """Raise AtlasExistsError if there is an atlas, unless ``replace``, or if anything else is there."""
        held = self._remote.sizes()
        if MANIFEST_NAME in held:
            if not replace:
                raise AtlasExistsError(
                    f"There is an atlas at {self._remote}/ already, and one at a URL is not replaced. "
                    "Remove it there first, or name another URL."
                )
        elif JOURNAL_NAME not in held and (others := held.keys() - {LOCK_NAME}):
            raise AtlasExistsError(
                f"{self._remote}/ holds {min(others)!r} and is not an atlas; it is left alone. Name another URL."
            )

    def holds_atlas(self) -> bool:
        """Return whether a finished atlas is there."""
        return self._remote.read(MANIFEST_NAME) is not None

    def manifest(self) -> Manifest:
        """Return that of the finished atlas."""
        return Manifest.parse(self._remote.read(MANIFEST_NAME) or b"", str(self._remote))

    @contextmanager
    def locked(self, atlas_bytes: int, segment_bytes: int) -> Iterator[None]:
        """Keep other builders out, as well as the store can, with a scratch folder to put resolutions together in."""
        with TemporaryDirectory(prefix="satclip-index-") as scratch:
            check_room(Path(scratch), 3 * segment_bytes)  # segments, index and tree of the finest
            self._root = Path(scratch)
            self._lock()
            try:
                self._recover()
                yield
            except RemoteError as error:
                raise RemoteError(f"{error}{self._how_to_go_on()}") from error
            except OutputError as error:
                raise OutputError(f"{error}{self._how_to_go_on()} TMPDIR names another folder.") from error
            except OSError as error:
                if error.errno is None:
                    raise
                raise OutputError(
                    f"The atlas could not be put together in {scratch}: {one_line(error)}.{self._how_to_go_on()} "
                    "TMPDIR names another folder."
                ) from error
            finally:
                with suppress(RemoteError):  # what went wrong before says more
                    held = self._remote.sizes()
                    done = [LOCK_NAME] if self._kept() else [LOCK_NAME, JOURNAL_NAME]
                    self._remote.remove(name for name in done if name in held)

    def _lock(self) -> None:
        mine = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        for _ in range(2):
            if self._remote.create(LOCK_NAME, json.dumps(mine).encode()):
                return
            try:
                found = json.loads(self._remote.read(LOCK_NAME) or b"{}")
                host, process, since = found["host"], int(found["process"]), str(found["since"])
            except (ValueError, KeyError, TypeError):
                host, process, since = "?", 0, "?"
            if host != mine["host"] or _is_running(process):
                break
            self._remote.remove([LOCK_NAME])
        raise AtlasExistsError(
            f"Another build of {self._remote}/ is under way, by process {process} at {host} since {since}. Wait for "
            f"it; or if it is dead, remove {self._remote}/{LOCK_NAME} and go on with --resume."
        )

    def journal(self, recipe: dict[str, Any], *, resume: bool, force: bool) -> Journal:
        """Return the journal of the build that is to go on, or that of a new one; what raises is as in a folder."""
        found = self._unfinished()
        if found and not force and not resume:
            raise BuildError(unfinished(self._remote))
        if found and resume:
            check_same(found, recipe, self._remote)
            return found
        held = self._remote.sizes()
        ours = (COMPONENTS_NAME, ENCODER_NAME, JOURNAL_NAME)
        self._remote.remove(name for name in held if name in ours or name.startswith("res="))
        return Journal.start(self._root, recipe | {"replaces": False}, self._put_journal)

    def replaces(self) -> bool:
        """Return False: nothing is replaced at a URL."""
        return False

    def storage(self) -> AtUrl:
        """Return where the files of the build are kept."""
        return AtUrl(self._remote, self._root)

    def put_in_place(self) -> None:
        """Write the manifest, and then remove what only the build needed."""
        self._remote.put(self._root / MANIFEST_NAME, MANIFEST_NAME)
        self._recover()

    def forget_unfinished(self) -> None:
        """There is none beside a finished atlas."""

    def _recover(self) -> None:
        """Tidy up after a build that was killed when all was done but that."""
        held = self._remote.sizes()
        if MANIFEST_NAME in held:
            self._remote.remove(name for name in held if name == JOURNAL_NAME or "/segments/" in name)

    def _unfinished(self) -> Journal | None:
        """Return the journal of a build that has finished anything."""
        text = self._remote.read(JOURNAL_NAME)
        if text is None:
            return None
        (self._root / JOURNAL_NAME).write_bytes(text)
        found = Journal.read(self._root, self._put_journal)
        return found if found and found.parts else None

    def _kept(self) -> bool:
        found = Journal.read(self._root)
        return bool(found and found.parts)

    def _put_journal(self) -> None:
        self._remote.put(self._root / JOURNAL_NAME, JOURNAL_NAME)

    def _how_to_go_on(self) -> str:
        return " What is done is kept: mend that, and go on with --resume." if self._kept() else ""


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
