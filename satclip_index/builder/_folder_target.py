"""The folder that an atlas is made in: locked, kept when a build is interrupted, and renamed once it is complete."""

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
from ._shard_storage import Files, Make

_START_OVER = "start over with --force"


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


class Target:
    """Where an atlas is to be; it is made beside that, in ``NAME.partial``.

    Parameters
    ----------
    path : Path
        The folder, or a link to it.

    Attributes
    ----------
    path : Path
        The folder itself.
    partial : Path
        Where it is made.
    replaceable : bool
        Whether an atlas that is there can be replaced.
    """

    replaceable = True

    def __init__(self, path: Path) -> None:
        with suppress(OSError, ValueError):  # what is wrong with a path is said when it is checked
            path = path.resolve() if path.is_symlink() else path
        self.path = path
        if path.name in ("", ".."):  # it could not be renamed into place
            raise OutputError(f"{str(path)!r} does not name the folder to make. Name one, such as {path / 'atlas'}.")
        self.partial = path.with_name(f"{path.name}.partial")
        self._lock = path.with_name(f"{path.name}.lock")
        self._old = path.with_name(f".{path.name}.replaced")  # a name that is nobody else's

    def check(self, *, replace: bool) -> None:
        """Raise AtlasExistsError if there is an atlas and it is not to be replaced, or anything else."""
        path = self.path
        try:
            there = path.exists()
        except (OSError, ValueError) as error:
            raise OutputError(f"{str(path)[:80]!r} cannot be a folder: {one_line(error)}.") from None
        if there and self.holds_atlas():
            if not replace:
                raise AtlasExistsError(
                    f"There is an atlas at {path}/ already. Replace it with --force, or name another folder."
                )
        elif there and (not path.is_dir() or any(path.iterdir())):
            raise AtlasExistsError(f"{path} exists and is not an atlas; it is left alone. Name another folder.")

    def holds_atlas(self) -> bool:
        """Return whether a finished atlas is there."""
        return (self.path / MANIFEST_NAME).is_file()

    def manifest(self) -> Manifest:
        """Return that of the finished atlas."""
        return Manifest.read(self.path)

    @contextmanager
    def locked(self, atlas_bytes: int, segment_bytes: int) -> Iterator[None]:
        """Keep other builders out; the disk must have the bytes, with those of an unfinished build.

        What a builder that was killed left half replaced is put right first. Whatever goes wrong, what is finished
        stays; nothing stays where nothing is.
        """
        lock = self._open_lock(atlas_bytes + segment_bytes)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_nlink == 0:
                    raise OSError("the builder that held the lock has just finished")
            except OSError:
                raise AtlasExistsError(
                    f"Another build of {self.path}/ is under way. Wait for it, or name another folder."
                ) from None
            try:
                self._recover()
                yield
            except OutputError as error:
                raise OutputError(f"{error}{self._how_to_go_on()}") from error
            except SatclipIndexError:
                raise
            except OSError as error:
                raise OutputError(
                    f"The atlas could not be written to {self.path}: {one_line(error)}.{self._how_to_go_on()}"
                ) from error
            finally:
                if not self._unfinished():
                    shutil.rmtree(self.partial, ignore_errors=True)
                self._lock.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def journal(self, recipe: dict[str, Any], *, resume: bool, force: bool) -> Journal:
        """Return the journal of the build that is to go on, or that of a new one in an empty folder.

        ``recipe`` is what decides the bytes of the atlas.

        Raises
        ------
        BuildError
            If an unfinished build is there and neither is asked for, or another is to go on.
        """
        found = self._unfinished()
        if found and not force and not resume:
            raise BuildError(unfinished(self.partial))
        if found and resume:
            check_same(found, recipe, self.partial)
            for stray in self.partial.rglob("*.partial"):
                stray.unlink()
            return found
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        return Journal.start(self.partial, recipe | {"replaces": force})

    def replaces(self) -> bool:
        """Return whether the unfinished build that is there was to replace an atlas."""
        found = self._unfinished()
        return bool(found and found.build.get("replaces"))

    def storage(self) -> InFolder:
        """Return where the files of the build are kept."""
        return InFolder(self.partial.absolute())

    def forget_unfinished(self) -> None:
        """Remove an unfinished build beside a finished atlas."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def put_in_place(self) -> None:
        """Rename the finished folder; an old atlas is set aside first and removed last."""
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
        """Finish what a build was killed in: the moment of replacing an atlas, or of tidying up after that."""
        if not self.path.exists() and (self._old / MANIFEST_NAME).is_file():
            self._old.rename(self.path)
        if self.holds_atlas():
            (self.path / JOURNAL_NAME).unlink(missing_ok=True)
            shutil.rmtree(self._old, ignore_errors=True)

    def _unfinished(self) -> Journal | None:
        """Return the journal of a build that has finished anything, but not everything."""
        found = Journal.read(self.partial)
        return found if found and found.parts else None

    def _how_to_go_on(self) -> str:
        return " What is done is kept: mend that, and go on with --resume." if self._unfinished() else ""

    def _open_lock(self, need: int) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            held = sum(file.stat().st_size for file in self.partial.rglob("*")) if self.partial.is_dir() else 0
            check_room(self.path.parent, need - held)
            return os.open(self._lock, os.O_CREAT | os.O_RDWR)
        except OutputError:
            raise
        except (OSError, ValueError) as error:
            raise OutputError(
                f"Cannot write beside {self.path}: {one_line(error)}. Name another folder with --atlas."
            ) from None


def check_room(folder: Path, need: int) -> None:
    """Raise OutputError if the disk of a folder has not so many bytes left."""
    if (free := shutil.disk_usage(folder).free) < need:
        raise OutputError(
            f"Making the atlas needs about {need / 1e9:.1f} GB; {free / 1e9:.1f} GB are free at {folder}."
        )


def unfinished(where: object) -> str:
    """Return what to say of a build that nobody asked to go on with."""
    return f"An unfinished build is in {where}/. Go on with --resume, or {_START_OVER}."


def check_same(found: Journal, recipe: dict[str, Any], where: object) -> None:
    """Raise BuildError if an unfinished build is of another atlas than a recipe."""
    if different := [name for name in recipe if found.build.get(name) != recipe[name]]:
        was, now = (_told(said.get(different[0])) for said in (found.build, recipe))
        raise BuildError(
            f"The unfinished build in {where}/ has {different[0]} {was}; this one has {now}. "
            f"Ask for the same, or {_START_OVER} instead of --resume."
        )


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {value[key]}" for key in value)
    return str(value)[:80]
