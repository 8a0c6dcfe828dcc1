"""The journal of a build: its recipe, and the parts that are finished."""

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
    """A finished part of a build: its files, and details such as the manifest entry of a resolution."""

    files: tuple[FileEntry, ...]
    details: dict[str, Any]


class Journal:
    """A JSON Lines file with the recipe and one line per finished part, flushed to disk after each line.

    Attributes
    ----------
    build : dict
        The recipe: everything that determines the bytes of the atlas.
    parts : dict of Part
        The finished parts, by name.
    """

    def __init__(
        self, root: Path, build: dict[str, Any], parts: dict[str, Part], on_write: Callable[[], None] | None = None
    ) -> None:
        self.root, self.build, self.parts = root, build, parts
        self._lock, self._on_write = Lock(), on_write

    @classmethod
    def start(cls, root: Path, build: dict[str, Any], on_write: Callable[[], None] | None = None) -> Self:
        """Return a new journal in a folder; ``on_write`` is called after each write."""
        (root / JOURNAL_NAME).unlink(missing_ok=True)
        journal = cls(root, build, {}, on_write)
        journal._append({"build": build})
        return journal

    @classmethod
    def read(cls, root: Path, on_write: Callable[[], None] | None = None) -> Self | None:
        """Return the journal of a folder, up to the first invalid line, or None if there is none."""
        try:
            first, *lines = (root / JOURNAL_NAME).read_bytes().split(b"\n")[:-1]
            journal = cls(root, dict(json.loads(first)["build"]), {}, on_write)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        for line in lines:
            try:
                part = json.loads(line)
                files = tuple(FileEntry(**file) for file in part["files"])
                journal.parts[part["part"]] = Part(files, dict(part["details"]))
            except (ValueError, KeyError, TypeError):
                break
        return journal

    def add(self, name: str, files: tuple[FileEntry, ...], details: dict[str, Any] | None = None) -> None:
        """Record a finished part; its files must be on disk already."""
        part = Part(files, details or {})
        with self._lock:
            self._append(_line(name, part))
            self.parts[name] = part

    def keep_only(self, trusted: Callable[[str, Part], bool]) -> None:
        """Keep only the parts that a function accepts, and rewrite the journal."""
        self.parts = {name: part for name, part in self.parts.items() if trusted(name, part)}
        lines = [{"build": self.build}, *(_line(name, part) for name, part in self.parts.items())]
        with atomic_file(self.root / JOURNAL_NAME) as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._notify()

    def _append(self, line: dict[str, Any]) -> None:
        with (self.root / JOURNAL_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._notify()

    def _notify(self) -> None:
        if self._on_write:
            self._on_write()


def _line(name: str, part: Part) -> dict[str, Any]:
    return {"part": name, "files": [asdict(file) for file in part.files], "details": part.details}
