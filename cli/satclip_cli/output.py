"""Where data go: a file, or standard output as bytes, whatever its encoding; a full disk there is one line."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from satclip_index.errors import OutputError
from satclip_index.storage.atomic import atomic_file

_SPOOLED_BYTES = 1 << 26  # of a document in memory
_DOCUMENTS = ("json", "geojson")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


@contextmanager
def open_output(out: Path | None, kind: str) -> Iterator[IO[bytes]]:
    """Yield a binary file for data of a format: an atomic file, or standard output.

    JSON and GeoJSON reach standard output complete or not at all. CSV, JSON lines and Parquet are streamed.
    """
    if out:
        with atomic_file(out) as file:
            yield file
        return
    if kind == "parquet" and sys.stdout.isatty():
        raise OutputError(
            "Parquet is binary and is not printed to a terminal. Write it to a file with -o FILE, or pipe it."
        )
    sys.stdout.flush()
    if kind in _DOCUMENTS:
        with SpooledTemporaryFile(_SPOOLED_BYTES) as document:
            yield document
            document.seek(0)
            shutil.copyfileobj(document, sys.stdout.buffer)
    else:
        yield sys.stdout.buffer
    sys.stdout.flush()  # messages on stderr follow the data


@contextmanager
def open_text_output(out: Path | None) -> Iterator[IO[str]]:
    """Yield a text file for a table: UTF-8 in a file, the encoding of the terminal on standard output."""
    if out:
        with atomic_file(out) as file, TextIOWrapper(file, encoding="utf-8", newline="") as text:
            yield text
    else:
        yield sys.stdout
        sys.stdout.flush()


@contextmanager
def checked_stdout() -> Iterator[None]:
    """Raise OutputError if standard output cannot be written, now or when it is flushed at the end.

    Characters that its encoding does not have are replaced.
    """
    if sys.stdout is None:  # closed by the shell: writing is an error, as it is for any command
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        raise
    except OSError as error:
        if isinstance(error, OutputError) or error.filename is not None or error.errno not in _FULL:
            raise
        _discard_stdout()
        raise OutputError(f"Standard output could not be written: {os.strerror(error.errno)}.") from error


def _discard_stdout() -> None:
    """Let what is left in the buffer go nowhere, or Python would complain of it when it exits."""
    with suppress(OSError, ValueError):
        descriptor, nowhere = sys.stdout.fileno(), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
