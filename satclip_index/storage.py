"""Where the files of an atlas in the making are kept: in a folder that every worker has, or at a URL."""

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from .errors import CorruptAtlasError
from .journal import JOURNAL_NAME
from .manifest import FileEntry
from .remote import AT_ONCE, Remote

Files = tuple[FileEntry, ...]
Make = Callable[[Path], Files]
"""Writes files below a folder, and returns what they are."""


class Storage(Protocol):
    """What a build asks of it; workers on other machines have a copy of it."""

    def reachable(self) -> bool:
        """Return whether it is seen from here."""

    def write(self, make: Make) -> Files:
        """Let files be made, keep them, and return what they are."""

    def whole(self, files: Iterable[FileEntry]) -> set[str]:
        """Return the paths of those that are there, as far as can be told without moving them."""

    def gather(self, files: Iterable[FileEntry]) -> None:
        """Have files that are kept in the folder of the build."""

    def keep(self, files: Iterable[FileEntry]) -> None:
        """Keep files that are in the folder of the build."""

    def drop_segments(self, res: int) -> None:
        """Remove the segments of a resolution; none may be there."""


@dataclass(frozen=True, slots=True)
class InFolder:
    """The folder of the build itself, on a disk or on a file system that all machines share."""

    root: Path

    def reachable(self) -> bool:
        """Return whether the journal is seen, which is begun before anything else."""
        return (self.root / JOURNAL_NAME).is_file()

    def write(self, make: Make) -> Files:
        """Let files be made where they stay."""
        return make(self.root)

    def whole(self, files: Iterable[FileEntry]) -> set[str]:
        """Return the paths of those that are, byte for byte, what was written."""
        there = [file for file in files if (self.root / file.path).is_file()]
        return {file.path for file in there if FileEntry.of(self.root, self.root / file.path) == file}

    def gather(self, files: Iterable[FileEntry]) -> None:
        """They are there."""

    def keep(self, files: Iterable[FileEntry]) -> None:
        """They are kept."""

    def drop_segments(self, res: int) -> None:
        """Remove the folder of segments."""
        shutil.rmtree(self.root / f"res={res}" / "segments", ignore_errors=True)


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
