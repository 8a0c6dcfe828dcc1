"""Files that are complete on the disk, or not replaced at all: the only writer of files that readers may find.

A file is written beside its target as ``.NAME.RANDOM.partial`` and renamed. What is left under such a name comes from a
process that was killed, and can be deleted.
"""

import ctypes
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ..errors import OutputError, SatclipIndexError

_DESCRIPTORS = re.compile(r"/dev/fd|/proc/(?:self|thread-self|\d+)(?:/task/\d+)?/fd")
_NAME_LENGTH = 40  # of a name of up to 255 bytes, so that the temporary name is not too long either
_MOST_LINKS = 40  # as Linux has it


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing; it replaces ``path`` when the block ends, unless the block raises.

    A symbolic link is followed. An existing file keeps its mode, owner and group. Devices, FIFOs and open descriptors
    (``/dev/stdout``, ``/dev/fd/N``) are written to directly. Of two writers the last one wins.

    Parameters
    ----------
    path : Path
        The file to create or replace.

    Yields
    ------
    binary file

    Raises
    ------
    OutputError
        If the file cannot be written, also where an ``OSError`` ends the block; what was at ``path`` is unchanged.
    """
    with _named_errors(path):
        target = _behind_links(path)
        if (descriptor := _open_descriptor(target)) is not None:
            with os.fdopen(os.dup(descriptor), "wb") as file:  # opened by name, it would be written from its start
                yield file
        elif _is_special(target):
            with target.open("wb") as file:
                yield file
        else:
            with _replacing(path, target) as partial, partial.open("wb") as file:
                yield file


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield the path of an empty file to write to: :func:`atomic_file` for libraries that open files themselves.

    They may overwrite or replace the file, and must have closed it when the block ends. For a device or FIFO the path
    is its own.
    """
    with _named_errors(path):
        target = _behind_links(path)
        if _is_special(target):
            yield target
        else:
            with _replacing(path, target) as partial:
                yield partial


def partial_path(path: Path) -> Path:
    """Return an unused, hidden name beside a file or folder, under which to prepare its replacement."""
    return path.with_name(f".{path.name[:_NAME_LENGTH]}.{secrets.token_hex(8)}.partial")


def exchange(path: Path, other: Path) -> bool:
    """Swap two folders in one step, so that there is one at each name all the time; return False where that cannot be.

    Linux can (renameat2(2), RENAME_EXCHANGE), on most of its file systems.
    """
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(path), here, os.fsencode(other), swap) == 0


def sync(path: Path) -> None:
    """Make sure that a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _replacing(path: Path, target: Path) -> Iterator[Path]:
    """Yield an empty file beside ``target``; then give it the old file's mode and owner, and its name."""
    old = target.stat() if target.exists() else None
    _check_permissions(path, target)
    partial = partial_path(target)
    try:
        # A private file must not be readable by others while it is written.
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if old is None else 0o600)
        try:
            mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)
        yield partial
        if old is None:
            partial.chmod(mode)  # the library may have put a file of its own there
        else:
            _keep_owner_and_mode(partial, old)
        sync(partial)
        partial.replace(target)
        with suppress(PermissionError):  # a folder may be writable and not readable
            sync(target.parent)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _keep_owner_and_mode(partial: Path, old: os.stat_result) -> None:
    """Give a file the owner, group and mode of another, as far as this user may."""
    mode, new = stat.S_IMODE(old.st_mode), partial.stat()
    try:
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            os.chown(partial, old.st_uid, old.st_gid)
    except PermissionError:
        try:
            os.chown(partial, -1, old.st_gid)
        except PermissionError:
            mode &= ~stat.S_IRWXG  # the permissions were another group's
    partial.chmod(mode)  # last, since chown clears set-user-ID bits


def _behind_links(path: Path) -> Path:
    """Return what a path stands for, every symbolic link followed up to open descriptors."""
    for _ in range(_MOST_LINKS):
        if _is_descriptor(path) or not path.is_symlink():
            return path
        path = path.parent / os.readlink(path)  # noqa: PTH115 (text is joined as it is)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _is_descriptor(path: Path) -> bool:
    return path.name.isdecimal() and _DESCRIPTORS.fullmatch(os.path.realpath(path.parent)) is not None


def _open_descriptor(path: Path) -> int | None:
    """Return the number of the open file of this process that a path such as ``/dev/fd/1`` stands for, if it does."""
    if not _is_descriptor(path):
        return None
    folder = os.path.realpath(path.parent)
    return int(path.name) if folder == "/dev/fd" or int(folder.split("/")[2]) == os.getpid() else None


def _is_special(path: Path) -> bool:
    """Return whether what exists at a path is to be written to rather than replaced."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} could not be written: it is a folder.")
    return not stat.S_ISREG(mode) or _is_descriptor(path)


def _check_permissions(path: Path, target: Path) -> None:
    """Raise OutputError if a rename must not or cannot replace the file."""
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{path} could not be written: there is no folder {folder}.")
    if target.exists() and not os.access(target, os.W_OK):
        raise OutputError(f"{path} could not be written: the file is read-only.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path} could not be written: no permission to create files in {folder}.")


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Raise errors of the operating system as OutputError that names the file; a closed pipe stays what it is."""
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} could not be written: a name cannot contain a null character.")
    try:
        yield
    except (SatclipIndexError, BrokenPipeError):
        raise
    except OSError as error:
        shown = path if error.errno != errno.ENAMETOOLONG else f"{str(path)[:80]}..."
        reason = os.strerror(error.errno) if error.errno else error
        raise OutputError(f"{shown} could not be written: {reason}.") from error
