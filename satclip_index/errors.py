"""Every exception that this package raises on purpose, and helpers that make them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self

_LONGEST_REASON = 160  # characters of another library's error
_OUR_PACKAGES = ("satclip_index", "satclip_cli", "satclip_train")


class SatclipIndexError(Exception):
    """Base of all errors of this package: one line with what was wrong, what was expected and how to fix it."""


class CoordinateError(SatclipIndexError, ValueError):
    """A longitude or latitude is missing, not finite or out of range."""


class InvalidCellError(SatclipIndexError, ValueError):
    """A value is not an H3 cell, or not of the expected resolution."""


class ResolutionError(SatclipIndexError, ValueError):
    """A resolution is out of range or not in the atlas."""


class PlaceError(SatclipIndexError, LookupError):
    """A place is invalid or was not found."""


class EncoderError(SatclipIndexError, ValueError):
    """An encoder could not be found, downloaded or read, or an option of it is invalid."""


class AtlasNotFoundError(SatclipIndexError, FileNotFoundError):
    """A folder or URL has no finished atlas."""


class AtlasExistsError(SatclipIndexError, FileExistsError):
    """A build or an export would overwrite existing files, or another build is running."""


class BuildError(SatclipIndexError, ValueError):
    """A build cannot start or continue: there is an unfinished build, its settings differ, or an option is invalid."""


class CorruptAtlasError(SatclipIndexError, ValueError):
    """A file of an atlas is missing, damaged or inconsistent with the manifest."""

    @classmethod
    def unreadable(cls, path: Path, error: Exception) -> Self:
        """Return the error for a file that could not be read because of another error."""
        return cls(f"{path} cannot be read: {one_line(error)}. Build the atlas again.")


class QueryError(SatclipIndexError, ValueError):
    """A search option or an SQL query is invalid."""


class TableError(SatclipIndexError, ValueError):
    """A user's table cannot be read or lacks a column."""


class OutputError(SatclipIndexError, OSError):
    """A result cannot be written to its destination."""


class RemoteError(SatclipIndexError, OSError):
    """A URL cannot be reached, read or written."""


class ConfigError(SatclipIndexError, ValueError):
    """A training configuration is incomplete or contradictory."""


class DataError(SatclipIndexError, ValueError):
    """Training data is missing or unreadable."""


class MissingExtraError(SatclipIndexError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"This needs {package}, which is not installed. Run: pip install 'satclip-index[{extra}]'")


def one_line(error: BaseException, *, with_type: bool = False) -> str:
    """Return the message of another library's error as one line, without a final period.

    An error of the operating system gives its reason alone, such as ``Permission denied``. A message that says nothing
    without its type, such as that of a KeyError, is preceded by it, and so is any ``with_type``. Long messages are cut.
    """
    strerror = getattr(error, "strerror", None)
    text = " ".join(str(strerror or error).split())
    if with_type or not text or isinstance(error, KeyError):
        text = f"{type(error).__name__}: {text}".rstrip(": ")
    return text.rstrip(".") if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 3]}..."


@contextmanager
def require_extra(package: str, extra: str) -> Iterator[None]:
    """Raise MissingExtraError if an import in this block fails because a package is not installed.

    Examples
    --------
    >>> with require_extra("bokeh", "map"):  # doctest: +SKIP
    ...     import bokeh
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or package).partition(".")[0]
        if missing in _OUR_PACKAGES:
            raise
        raise MissingExtraError(missing, extra) from None


def check_extra(package: str, extra: str) -> None:
    """Raise MissingExtraError if a package is not installed, without importing it."""
    if find_spec(package) is None:
        raise MissingExtraError(package, extra)
