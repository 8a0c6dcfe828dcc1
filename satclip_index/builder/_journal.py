"""The journal of a build: what it is to make, and what of it is on the disk."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

from ..storage.atomic import atomic_file
from ..storage.manifest import FileEntry

JOURNAL_NAME = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part of a build: its files, and what else is to be remembered of it."""

    files: tuple[FileEntry, ...]
    said: dict[str, Any]


class Journal:
    """A file with one line for what is built and one for each finished part, on the disk as soon as it is written.

    Attributes
    ----------
    build : dict
        What decides the bytes of the atlas.
    parts : dict of Part
        The finished ones, by name.
    """

    def __init__(
        self, root: Path, build: dict[str, Any], parts: dict[str, Part], written: Callable[[], None] | None = None
    ) -> None:
        self.root, self.build, self.parts = root, build, parts
        self._lock, self._written = Lock(), written

    @classmethod
    def start(cls, root: Path, build: dict[str, Any], written: Callable[[], None] | None = None) -> Self:
        """Return a new journal in a folder; ``written`` is called whenever the file has grown."""
        (root / JOURNAL_NAME).unlink(missing_ok=True)
        journal = cls(root, build, {}, written)
        journal._append({"build": build})
        return journal

    @classmethod
    def read(cls, root: Path, written: Callable[[], None] | None = None) -> Self | None:
        """Return the journal of a folder, up to the first line that cannot be read, or None if there is none."""
        try:
            first, *lines = (root / JOURNAL_NAME).read_bytes().split(b"\n")[:-1]
            journal = cls(root, dict(json.loads(first)["build"]), {}, written)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        for line in lines:
            try:
                part = json.loads(line)
                files = tuple(FileEntry(**file) for file in part["files"])
                journal.parts[part["part"]] = Part(files, dict(part["said"]))
            except (ValueError, KeyError, TypeError):
                break
        return journal

    def add(self, name: str, files: tuple[FileEntry, ...], said: dict[str, Any] | None = None) -> None:
        """Write down that a part is finished; its files are on the disk."""
        part = Part(files, said or {})
        with self._lock:
            self._append(_line(name, part))
            self.parts[name] = part

    def keep(self, trusted: Callable[[str, Part], bool]) -> None:
        """Forget parts that are not to be trusted, and write the journal anew."""
        self.parts = {name: part for name, part in self.parts.items() if trusted(name, part)}
        lines = [{"build": self.build}, *(_line(name, part) for name, part in self.parts.items())]
        with atomic_file(self.root / JOURNAL_NAME) as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._tell()

    def _append(self, line: dict[str, Any]) -> None:
        with (self.root / JOURNAL_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._tell()

    def _tell(self) -> None:
        if self._written:
            self._written()


def _line(name: str, part: Part) -> dict[str, Any]:
    return {"part": name, "files": [asdict(file) for file in part.files], "said": part.said}
