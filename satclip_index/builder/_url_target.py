"""Building at a URL: locked as far as the store allows, kept when a build is interrupted, completed by the manifest."""

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
from ..storage.remote import PARALLEL_TRANSFERS, Remote
from ._folder_target import check_free_space, check_same_build, unfinished_message
from ._journal import JOURNAL_NAME, Journal
from ._shard_storage import Files, WriteFiles

LOCK_NAME = "build.lock"


@dataclass(frozen=True, slots=True)
class UrlStorage:
    """Keeps files at a URL; ``root`` is a scratch folder of the machine that assembles the atlas."""

    remote: Remote
    root: Path

    def is_reachable(self) -> bool:
        """Return whether this machine sees the journal at the URL."""
        return JOURNAL_NAME in self.remote.sizes()

    def write(self, write_files: WriteFiles) -> Files:
        """Write files in a scratch folder of this machine, and upload them."""
        with TemporaryDirectory(prefix="satclip-index-") as scratch:
            files = write_files(Path(scratch))
            for file in files:
                self.remote.put(Path(scratch) / file.path, file.path)
        return files

    def intact(self, files: Iterable[FileEntry]) -> set[str]:
        """Return the paths of the files with the right size; checksums are verified when files are fetched."""
        sizes = self.remote.sizes()
        return {file.path for file in files if sizes.get(file.path) == file.size}

    def fetch(self, files: Iterable[FileEntry]) -> None:
        """Download files that the scratch folder lacks; a damaged one is removed, so that it is built again."""

        def fetch(file: FileEntry) -> None:
            path = self.root / file.path
            if path.is_file() and path.stat().st_size == file.size:
                return
            try:
                self.remote.get(file, self.root)
            except CorruptAtlasError as error:
                self.remote.remove([file.path])
                raise CorruptAtlasError(f"{str(error).partition('. ')[0]}. Build it again with --resume.") from None

        with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
            list(pool.map(fetch, files))

    def store(self, files: Iterable[FileEntry]) -> None:
        """Upload files."""
        for file in files:
            self.remote.put(self.root / file.path, file.path)

    def remove_segments(self, res: int) -> None:
        """Remove the segments at the URL and in the scratch folder."""
        shutil.rmtree(self.root / f"res={res}" / "segments", ignore_errors=True)
        self.remote.remove(name for name in self.remote.sizes() if name.startswith(f"res={res}/segments/"))


class UrlTarget:
    """The URL of a new atlas. Object stores cannot rename, so it is built in place and completed by its manifest.

    Parameters
    ----------
    remote : Remote
    """

    replaceable = False

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._root = Path()

    def check(self, *, replace: bool) -> None:
        """Raise AtlasExistsError if the URL has an atlas, unless ``replace``, or anything else."""
        files = self._remote.sizes()
        if MANIFEST_NAME in files:
            if not replace:
                raise AtlasExistsError(
                    f"An atlas already exists at {self._remote}/, and --force does not replace an atlas at a URL. "
                    "Remove it first, or name another URL."
                )
        elif JOURNAL_NAME not in files and (others := files.keys() - {LOCK_NAME}):
            raise AtlasExistsError(
                f"{self._remote}/ contains {min(others)!r} and is not an atlas, so it is not replaced. "
                "Name another URL."
            )

    def holds_atlas(self) -> bool:
        """Return whether the URL has a finished atlas."""
        return self._remote.read(MANIFEST_NAME) is not None

    def manifest(self) -> Manifest:
        """Return the manifest of the finished atlas."""
        return Manifest.parse(self._remote.read(MANIFEST_NAME) or b"", str(self._remote))

    @contextmanager
    def locked(self, atlas_bytes: int, segment_bytes: int) -> Iterator[None]:
        """Lock the URL against other builds, as far as the store allows, and make a scratch folder for assembly."""
        with TemporaryDirectory(prefix="satclip-index-") as scratch:
            check_free_space(Path(scratch), 3 * segment_bytes)  # segments, index and tree of the finest resolution
            self._root = Path(scratch)
            self._lock()
            try:
                self._recover()
                yield
            except RemoteError as error:
                raise RemoteError(f"{error}{self._resume_hint()}") from error
            except OutputError as error:
                raise OutputError(f"{error}{self._resume_hint()} To use another folder, set TMPDIR.") from error
            except OSError as error:
                if error.errno is None:
                    raise
                raise OutputError(
                    f"The atlas could not be assembled in {scratch}: {one_line(error)}.{self._resume_hint()} "
                    "To use another folder, set TMPDIR."
                ) from error
            finally:
                with suppress(RemoteError):  # an earlier error is more informative
                    files = self._remote.sizes()
                    obsolete = [LOCK_NAME] if self._has_finished_parts() else [LOCK_NAME, JOURNAL_NAME]
                    self._remote.remove(name for name in obsolete if name in files)

    def _lock(self) -> None:
        owner = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
        for _ in range(2):
            if self._remote.create(LOCK_NAME, json.dumps(owner).encode()):
                return
            try:
                other = json.loads(self._remote.read(LOCK_NAME) or b"{}")
                host, process, since = other["host"], int(other["process"]), str(other["since"])
            except (ValueError, KeyError, TypeError):
                host, process, since = "?", 0, "?"
            if host != owner["host"] or _is_running(process):
                break
            self._remote.remove([LOCK_NAME])
        raise AtlasExistsError(
            f"Another build of {self._remote}/ is running: process {process} on {host}, since {since}. Wait for it; "
            f"or, if it has died, remove {self._remote}/{LOCK_NAME} and continue with --resume."
        )

    def journal(self, recipe: dict[str, Any], *, resume: bool, force: bool) -> Journal:
        """Return the journal of an unfinished build to resume, or a new journal; errors are those of FolderTarget."""
        unfinished = self._unfinished()
        if unfinished and not force and not resume:
            raise BuildError(unfinished_message(self._remote))
        if unfinished and resume:
            check_same_build(unfinished, recipe, self._remote)
            return unfinished
        files = self._remote.sizes()
        known = (COMPONENTS_NAME, ENCODER_NAME, JOURNAL_NAME)
        self._remote.remove(name for name in files if name in known or name.startswith("res="))
        return Journal.start(self._root, recipe | {"replaces": False}, self._put_journal)

    def replaces(self) -> bool:
        """Return False: an atlas at a URL is never replaced."""
        return False

    def storage(self) -> UrlStorage:
        """Return the storage for the files of the build."""
        return UrlStorage(self._remote, self._root)

    def put_in_place(self) -> None:
        """Upload the manifest, then remove the temporary files of the build."""
        self._remote.put(self._root / MANIFEST_NAME, MANIFEST_NAME)
        self._recover()

    def remove_unfinished(self) -> None:
        """Do nothing: a finished atlas at a URL has no unfinished build."""

    def _recover(self) -> None:
        """Complete the cleanup of a finished build that was killed."""
        files = self._remote.sizes()
        if MANIFEST_NAME in files:
            self._remote.remove(name for name in files if name == JOURNAL_NAME or "/segments/" in name)

    def _unfinished(self) -> Journal | None:
        """Return the journal of an unfinished build with at least one finished part, or None."""
        text = self._remote.read(JOURNAL_NAME)
        if text is None:
            return None
        (self._root / JOURNAL_NAME).write_bytes(text)
        journal = Journal.read(self._root, self._put_journal)
        return journal if journal and journal.parts else None

    def _has_finished_parts(self) -> bool:
        journal = Journal.read(self._root)
        return bool(journal and journal.parts)

    def _put_journal(self) -> None:
        self._remote.put(self._root / JOURNAL_NAME, JOURNAL_NAME)

    def _resume_hint(self) -> str:
        return (
            " Finished parts are kept; fix the problem and continue with --resume."
            if self._has_finished_parts()
            else ""
        )


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
