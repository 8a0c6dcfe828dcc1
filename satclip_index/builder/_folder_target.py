"""Building into a folder: locked, kept when a build is interrupted, and renamed once it is complete."""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AtlasExistsError, BuildError, OutputError, SatclipIndexError, one_line
from ..storage.atomic import exchange, sync
from ..storage.manifest import MANIFEST_NAME, FileEntry, Manifest
from ._journal import JOURNAL_NAME, Journal
from ._shard_storage import Files, WriteFiles

_START_OVER = "start over with --force"


@dataclass(frozen=True, slots=True)
class FolderStorage:
    """Keeps files in the folder of the build, on a local disk or a file system that all machines share."""

    root: Path

    def is_reachable(self) -> bool:
        """Return whether this machine sees the journal, which is the first file of a build."""
        return (self.root / JOURNAL_NAME).is_file()

    def write(self, write_files: WriteFiles) -> Files:
        """Write files directly into the folder of the build."""
        return write_files(self.root)

    def intact(self, files: Iterable[FileEntry]) -> set[str]:
        """Return the paths of the files whose size and checksum match."""
        existing = [file for file in files if (self.root / file.path).is_file()]
        return {file.path for file in existing if FileEntry.of(self.root, self.root / file.path) == file}

    def fetch(self, files: Iterable[FileEntry]) -> None:
        """Do nothing: the files are in the folder already."""

    def store(self, files: Iterable[FileEntry]) -> None:
        """Do nothing: the files are in the folder already."""

    def remove_segments(self, res: int) -> None:
        """Remove the segments of a resolution."""
        shutil.rmtree(self.root / f"res={res}" / "segments", ignore_errors=True)


class FolderTarget:
    """The folder of a new atlas; the atlas is built next to it, in ``NAME.partial``.

    Parameters
    ----------
    path : Path
        The folder, or a symbolic link to it.

    Attributes
    ----------
    path : Path
        The folder, with a symbolic link resolved.
    partial : Path
        The folder of the build.
    replaceable : bool
        Whether an existing atlas can be replaced.
    """

    replaceable = True

    def __init__(self, path: Path) -> None:
        with suppress(OSError, ValueError):  # check() reports what is wrong with a path
            path = path.resolve() if path.is_symlink() else path
        self.path = path
        if path.name in ("", ".."):  # it could not be renamed into place
            raise OutputError(f"{str(path)!r} is not the name of a new folder. Name one, such as {path / 'atlas'}.")
        self.partial = path.with_name(f"{path.name}.partial")
        self._lock = path.with_name(f"{path.name}.lock")
        self._old = path.with_name(f".{path.name}.replaced")  # hidden, and used by nothing else

    def check(self, *, replace: bool) -> None:
        """Raise AtlasExistsError if the folder has an atlas that must not be replaced, or anything else."""
        path = self.path
        try:
            exists = path.exists()
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(path)[:80]!r} cannot be a folder: {one_line(error)}.") from None
        if exists and self.holds_atlas():
            if not replace:
                raise AtlasExistsError(
                    f"An atlas already exists at {path}/. Replace it with --force, or name another folder."
                )
        elif exists and (not path.is_dir() or any(path.iterdir())):
            raise AtlasExistsError(f"{path} exists and is not an atlas, so it is not replaced. Name another folder.")

    def holds_atlas(self) -> bool:
        """Return whether the folder has a finished atlas."""
        return (self.path / MANIFEST_NAME).is_file()

    def manifest(self) -> Manifest:
        """Return the manifest of the finished atlas."""
        return Manifest.read(self.path)

    @contextmanager
    def locked(self, atlas_bytes: int, segment_bytes: int) -> Iterator[None]:
        """Lock the folder against other builds, and check for enough disk space, less what an unfinished build uses.

        First completes a replacement that was interrupted. On an error, finished parts are kept; without any, the
        folder of the build is removed.
        """
        lock = self._open_lock(atlas_bytes + segment_bytes)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_nlink == 0:
                    raise OSError("the other build has just finished")
            except OSError:
                raise AtlasExistsError(
                    f"Another build of {self.path}/ is running. Wait for it, or name another folder."
                ) from None
            try:
                self._recover()
                yield
            except OutputError as error:
                raise OutputError(f"{error}{self._resume_hint()}") from error
            except SatclipIndexError:
                raise
            except OSError as error:
                raise OutputError(
                    f"The atlas could not be written to {self.path}: {one_line(error)}.{self._resume_hint()}"
                ) from error
            finally:
                if not self._unfinished():
                    shutil.rmtree(self.partial, ignore_errors=True)
                self._lock.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def journal(self, recipe: dict[str, Any], *, resume: bool, force: bool) -> Journal:
        """Return the journal of an unfinished build to resume, or a new journal in an empty folder.

        ``recipe`` has everything that determines the bytes of the atlas.

        Raises
        ------
        BuildError
            If there is an unfinished build and neither ``resume`` nor ``force`` is set, or it has another recipe.
        """
        unfinished = self._unfinished()
        if unfinished and not force and not resume:
            raise BuildError(unfinished_message(self.partial))
        if unfinished and resume:
            check_same_build(unfinished, recipe, self.partial)
            for stray in self.partial.rglob("*.partial"):
                stray.unlink()
            return unfinished
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        return Journal.start(self.partial, recipe | {"replaces": force})

    def replaces(self) -> bool:
        """Return whether the unfinished build was started to replace an atlas."""
        unfinished = self._unfinished()
        return bool(unfinished and unfinished.build.get("replaces"))

    def storage(self) -> FolderStorage:
        """Return the storage for the files of the build."""
        return FolderStorage(self.partial.absolute())

    def remove_unfinished(self) -> None:
        """Remove an unfinished build next to a finished atlas."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def put_in_place(self) -> None:
        """Rename the finished folder into place; an old atlas is moved aside first and removed last."""
        sync(self.partial)
        shutil.rmtree(self._old, ignore_errors=True)
        if self.path.exists() and exchange(self.partial, self.path):
            self.partial.rename(self._old)
        else:
            if self.path.exists():
                self.path.rename(self._old)
            self.partial.rename(self.path)
        sync(self.path.parent)
        self._recover()

    def _recover(self) -> None:
        """Complete a replacement or a cleanup during which a build was killed."""
        if not self.path.exists() and (self._old / MANIFEST_NAME).is_file():
            self._old.rename(self.path)
        if self.holds_atlas():
            (self.path / JOURNAL_NAME).unlink(missing_ok=True)
            shutil.rmtree(self._old, ignore_errors=True)

    def _unfinished(self) -> Journal | None:
        """Return the journal of an unfinished build with at least one finished part, or None."""
        journal = Journal.read(self.partial)
        return journal if journal and journal.parts else None

    def _resume_hint(self) -> str:
        return " Finished parts are kept; fix the problem and continue with --resume." if self._unfinished() else ""

    def _open_lock(self, need: int) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            used = sum(file.stat().st_size for file in self.partial.rglob("*")) if self.partial.is_dir() else 0
            check_free_space(self.path.parent, need - used)
            return os.open(self._lock, os.O_CREAT | os.O_RDWR)
        except OutputError:
            raise
        except (OSError, ValueError) as error:
            raise OutputError(
                f"Cannot write next to {self.path}: {one_line(error)}. Name another folder with --atlas."
            ) from None


def check_free_space(folder: Path, need: int) -> None:
    """Raise OutputError if the disk of a folder has less free space than needed, in bytes."""
    if (free := shutil.disk_usage(folder).free) < need:
        raise OutputError(
            f"Building the atlas needs about {need / 1e9:.1f} GB; {free / 1e9:.1f} GB are free at {folder}."
        )


def unfinished_message(where: object) -> str:
    """Return the message for an unfinished build without --resume or --force."""
    return f"There is an unfinished build in {where}/. Continue it with --resume, or {_START_OVER}."


def check_same_build(unfinished: Journal, recipe: dict[str, Any], where: object) -> None:
    """Raise BuildError if an unfinished build has another recipe."""
    if different := [name for name in recipe if unfinished.build.get(name) != recipe[name]]:
        was, now = (_as_text(build.get(different[0])) for build in (unfinished.build, recipe))
        raise BuildError(
            f"The unfinished build in {where}/ has {different[0]} {was}; this one has {now}. "
            f"Use the same options, or {_START_OVER} instead of --resume."
        )


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {value[key]}" for key in value)
    return str(value)[:80]
