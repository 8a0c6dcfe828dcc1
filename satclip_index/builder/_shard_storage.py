"""Where the files of a build are kept: in a shared folder, or at a URL."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from ..storage.manifest import FileEntry

Files = tuple[FileEntry, ...]
WriteFiles = Callable[[Path], Files]
"""Writes files below a folder, and returns their entries."""


class Storage(Protocol):
    """Storage for the files of a build; it is copied to workers on other machines."""

    def is_reachable(self) -> bool:
        """Return whether this machine can access the build."""

    def write(self, write_files: WriteFiles) -> Files:
        """Call a function that writes files, store them, and return their entries."""

    def intact(self, files: Iterable[FileEntry]) -> set[str]:
        """Return the paths of the files that exist and are intact, as far as can be checked without a download."""

    def fetch(self, files: Iterable[FileEntry]) -> None:
        """Copy stored files into the folder of the build."""

    def store(self, files: Iterable[FileEntry]) -> None:
        """Store files from the folder of the build."""

    def remove_segments(self, res: int) -> None:
        """Remove the segments of a resolution, if any."""
