"""A folder at a URL, of any file system that fsspec knows: an object store, a server, memory."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import CorruptAtlasError, OutputError, RemoteError, SatclipIndexError, one_line
from .atomic import atomic_path
from .manifest import FileEntry

_EXAMPLE = "s3://bucket/world"
AT_ONCE = 8  # files on their way side by side: one alone rarely fills a connection


def located(path: "str | Path") -> "Path | Remote":
    """Return a folder as a path, ``file://`` URLs among them, or as what is at a URL."""
    text = str(path)
    if "://" not in text:
        return Path(path)
    if not text.lower().startswith("file://"):
        return Remote(text)
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise OutputError(
            f"{text!r} names the machine {parts.netloc!r}. A folder here has three slashes: file:///data."
        )
    return Path(unquote(parts.path))


class Remote:
    """What is below a URL; its names are those of an atlas, such as ``res=4/index.faiss``.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/world``. Credentials and endpoints are what fsspec's file system finds by itself.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if "://" not in self.url:
            raise RemoteError(f"{url!r} names no folder. Expected such as {_EXAMPLE}.")

    def __str__(self) -> str:
        return re.sub(r"//[^/@]*@", "//", self.url)  # a password is not for messages

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self.url,)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and the URL as that calls it."""
        import fsspec

        try:
            file_system, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise RemoteError(
                f"{self} cannot be reached: {_missing(self.url)} ({one_line(error, with_type=True)})."
            ) from None
        except Exception as error:
            raise RemoteError(
                f"{self} cannot be reached ({one_line(error, with_type=True)}). Expected such as {_EXAMPLE}."
            ) from None
        return file_system, str(root).rstrip("/")

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    def _at(self, name: str) -> str:
        return f"{self._opened[1]}/{name}"

    @contextmanager
    def _told(self, done: str, name: str = "") -> Iterator[None]:
        """Make one line of whatever a file system raises; each has errors of its own."""
        try:
            yield
        except SatclipIndexError:
            raise
        except Exception as error:
            raise RemoteError(f"{self}/{name} could not be {done} ({one_line(error, with_type=True)}).") from error

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, or None if there is none."""
        with self._told("read", name):
            try:
                return bytes(self._fs.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def sizes(self) -> dict[str, int]:
        """Return the size of every file below the URL, by name."""
        with self._told("listed"):
            self._fs.invalidate_cache()  # others write there
            try:
                found = self._fs.find(self._opened[1], detail=True)
            except FileNotFoundError:
                return {}
            names = {path.removeprefix(self._at("")): int(about["size"] or 0) for path, about in found.items()}
        return {name: size for name, size in names.items() if name}

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless there is one, and return whether; in one step where the file system can."""
        with self._told("written", name):
            try:
                return self._create(name, content)
            except FileNotFoundError:  # file systems with real folders; the bucket of others is not made
                self._fs.mkdir(self._opened[1], create_parents=False)
                return self._create(name, content)

    def _create(self, name: str, content: bytes) -> bool:
        try:
            self._fs.pipe_file(self._at(name), content, mode="create")
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except (OSError, NotImplementedError):  # a store that cannot do that in one step
            if self._fs.exists(self._at(name)):
                return False
            self._fs.pipe_file(self._at(name), content)
        return True

    def put(self, path: Path, name: str) -> None:
        """Write a file of this machine to the URL."""
        with self._told("written", name):
            self._fs.put_file(str(path), self._at(name))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files that are there."""
        with self._told("tidied up"):
            if paths := [self._at(name) for name in names]:
                self._fs.rm(paths)

    def get(self, file: FileEntry, folder: Path, told: Callable[[int], None] | None = None) -> None:
        """Fetch a file into a folder; it is there once every byte of it is what the entry says.

        ``told`` is called with how many bytes of it have come.

        Raises
        ------
        CorruptAtlasError
            If it is not what was written.
        RemoteError
            If it cannot be fetched.
        """
        from fsspec.callbacks import Callback

        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        counted = Callback(hooks={"told": lambda _, value, **__: told(value)} if told else {})
        with atomic_path(target) as partial:
            with self._told("fetched", file.path):
                self._fs.get_file(self._at(file.path), str(partial), callback=counted)
            found = FileEntry.of(folder, partial)
            if (found.size, found.sha256) != (file.size, file.sha256):
                raise CorruptAtlasError(
                    f"{self}/{file.path} is not what was written: {found.size} bytes, SHA-256 {found.sha256[:12]}; "
                    f"expected {file.size} and {file.sha256[:12]}. It was damaged, or replaced just now: try again, "
                    "and then build it again."
                )


def _missing(url: str) -> str:
    """Return which package is to be installed for a URL."""
    from fsspec.registry import known_implementations

    scheme = url.partition("://")[0].rpartition("::")[2]
    package = known_implementations.get(scheme, {}).get("class", "").partition(".")[0]
    return (
        f"it needs {package}. Run: pip install {package}" if package and package != "fsspec" else "a package is missing"
    )
