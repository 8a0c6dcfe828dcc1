"""Where the files of an atlas in the making are kept: in a folder that every worker has, or at a URL."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from ..storage.manifest import FileEntry

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
