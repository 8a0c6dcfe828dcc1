"""Every exception that this package raises on purpose, and helpers that make them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Self

_LONGEST_REASON = 160  # characters of another library's error
_OUR_PACKAGES = ("satclip_index", "satclip_cli", "satclip_train")


class SatclipIndexError(Exception):
    """Base of all our errors: one line that says what was wrong, what was expected and how to mend it."""


class CoordinateError(SatclipIndexError, ValueError):
    """A longitude or latitude is missing, not finite or out of range."""


class InvalidCellError(SatclipIndexError, ValueError):
    """A value is not an H3 cell, or not one of the resolution asked for."""


class ResolutionError(SatclipIndexError, ValueError):
    """A resolution is out of range, or the atlas does not hold it."""


class PlaceError(SatclipIndexError, LookupError):
    """A place could not be understood or found."""


class EncoderError(SatclipIndexError, ValueError):
    """An encoder could not be found, fetched or read."""


class AtlasNotFoundError(SatclipIndexError, FileNotFoundError):
    """There is no finished atlas in a folder."""


class AtlasExistsError(SatclipIndexError, FileExistsError):
    """A build would overwrite an atlas that is there already."""


class BuildError(SatclipIndexError, ValueError):
    """A build cannot go on as it was asked to: an unfinished one is there, or is another, or an option cannot be."""


class CorruptAtlasError(SatclipIndexError, ValueError):
    """A file of an atlas is missing, truncated or not what the manifest says."""

    @classmethod
    def unreadable(cls, path: Path, error: Exception) -> Self:
        """Return the error of a file that another error kept from being read."""
        return cls(f"{path} cannot be read: {one_line(error)}. Build the atlas again.")


class QueryError(SatclipIndexError, ValueError):
    """A search or an SQL query asks for something that cannot be done."""


class TableError(SatclipIndexError, ValueError):
    """A user's table cannot be read or lacks a column."""


class OutputError(SatclipIndexError, OSError):
    """A result cannot be written where it was asked for."""


class RemoteError(SatclipIndexError, OSError):
    """What is at a URL cannot be reached, read or written."""


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
