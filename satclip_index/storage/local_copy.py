"""The local copy of an atlas at a URL, which the search needs because it maps files into memory."""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import AtlasNotFoundError, CorruptAtlasError, OutputError, one_line
from ..progress import Progress
from .atomic import atomic_file
from .manifest import MANIFEST_NAME, FileEntry, Manifest, is_unmodified
from .remote import PARALLEL_TRANSFERS, Remote


class LocalCopy:
    """An atlas at a URL, cached on this machine: its manifest is read at once, its files when first needed.

    Parameters
    ----------
    remote : Remote
        The URL.
    progress : function of (bytes, total), optional
        Called while files are downloaded.

    Raises
    ------
    AtlasNotFoundError
        If there is no atlas, or its build did not finish.
    CorruptAtlasError
        If its manifest cannot be read, or its hash is wrong.
    RemoteError
        If the URL cannot be reached.
    """

    def __init__(self, remote: Remote, progress: Progress | None = None) -> None:
        self._remote, self._progress = remote, progress
        text = remote.read(MANIFEST_NAME)
        if text is None:
            raise AtlasNotFoundError(f"No atlas at {remote}/. Build one: satclip-index build --atlas {remote}")
        if not is_unmodified(text):
            raise CorruptAtlasError(f"{remote}/{MANIFEST_NAME} is damaged. Build the atlas again.")
        self._text = text
        self.manifest = Manifest.parse(text, str(remote))

    def __str__(self) -> str:
        return str(self._remote)

    def __getstate__(self) -> dict[str, Any]:
        state = {"_remote": self._remote, "_text": self._text, "manifest": self.manifest}
        return state | {"_progress": None}  # not the folder: another machine has its own

    @cached_property
    def folder(self) -> Path:
        """The local folder of the atlas; files that are missing are downloaded first."""
        folder = _cache_folder() / self._name()
        if (folder / MANIFEST_NAME).is_file() and not self._missing(folder):
            return folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder):
                self._fetch(folder)
        except OSError as error:
            if isinstance(error, OutputError) or not error.errno:
                raise
            raise OutputError(
                f"{self} could not be downloaded to {folder}: {one_line(error)}. "
                "To use another folder, set SATCLIP_CACHE."
            ) from None
        return folder

    def _name(self) -> str:
        """Return a folder name that is unique to this URL and this version of the atlas."""
        url, digest = self._remote.url, hashlib.sha256(self._text).digest()
        readable = re.sub(r"[^\w.-]", "_", url.rpartition("/")[2])[:40]
        return f"{readable}-{hashlib.sha256(url.encode() + digest).hexdigest()[:24]}"

    def _missing(self, folder: Path) -> list[FileEntry]:
        wrong = {name for name, _ in self.manifest.wrong_sizes(folder)}
        return [file for file in self.manifest.files if file.path in wrong]

    def _fetch(self, folder: Path) -> None:
        missing = self._missing(folder)
        downloads = _DownloadProgress(self._progress, sum(file.size for file in missing))
        if downloads.total > (free := shutil.disk_usage(folder).free):
            raise OutputError(
                f"{self} needs {downloads.total / 1e9:.1f} GB of disk space; {free / 1e9:.1f} GB are free at {folder}. "
                "To use another folder, set SATCLIP_CACHE."
            )
        with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
            list(pool.map(lambda file: self._remote.get(file, folder, partial(downloads.add, file.path)), missing))
        with atomic_file(folder / MANIFEST_NAME) as file:
            file.write(self._text)


def local_folder(location: Path | Remote, progress: Progress | None = None) -> Path:
    """Return the local folder of an atlas; an atlas at a URL is downloaded."""
    return LocalCopy(location, progress).folder if isinstance(location, Remote) else location


class _DownloadProgress:
    """Adds up the bytes of files that are downloaded in parallel."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.total = total
        self._progress, self._received, self._lock = progress, dict[str, int](), Lock()

    def add(self, name: str, received: int) -> None:
        with self._lock:
            self._received[name] = received
            if self._progress:
                self._progress(sum(self._received.values()), self.total)


def _cache_folder() -> Path:
    """Return the folder of local copies: SATCLIP_CACHE, or the user's cache."""
    variable = os.environ.get("SATCLIP_CACHE")
    return Path(variable).absolute() if variable else Path.home() / ".cache" / "satclip-index"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder against downloads of other processes and threads; wait for the lock."""
    descriptor = os.open(folder.with_name(f"{folder.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
