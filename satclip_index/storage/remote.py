"""A folder at a URL, on any file system that fsspec supports, such as an object store."""

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
PARALLEL_TRANSFERS = 8  # one transfer alone rarely saturates a connection


def parse_location(path: "str | Path") -> "Path | Remote":
    """Return a Path for a local folder or a ``file://`` URL, and a Remote for any other URL."""
    text = str(path)
    if "://" not in text:
        return Path(path)
    if not text.lower().startswith("file://"):
        return Remote(text)
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise OutputError(
            f"{text!r} names the host {parts.netloc!r}. The URL of a local folder has three slashes: file:///data."
        )
    return Path(unquote(parts.path))


class Remote:
    """A folder at a URL; names of files are relative to it, such as ``res=4/index.faiss``.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/world``. Credentials and endpoints are those that the fsspec file system finds.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if "://" not in self.url:
            raise RemoteError(f"{url!r} is not the URL of a folder. Expected a URL such as {_EXAMPLE}.")

    def __str__(self) -> str:
        return re.sub(r"//[^/@]*@", "//", self.url)  # leaves a password out of messages

    def __reduce__(self) -> tuple[Any, ...]:
        return Remote, (self.url,)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and its path for the URL."""
        import fsspec

        try:
            file_system, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise RemoteError(
                f"{self} cannot be reached: {_install_hint(self.url)} ({one_line(error, with_type=True)})."
            ) from None
        except Exception as error:
            raise RemoteError(
                f"{self} cannot be reached ({one_line(error, with_type=True)}). Expected a URL such as {_EXAMPLE}."
            ) from None
        return file_system, str(root).rstrip("/")

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    def _at(self, name: str) -> str:
        return f"{self._opened[1]}/{name}"

    @contextmanager
    def _remote_errors(self, action: str, name: str = "") -> Iterator[None]:
        """Raise any error of a file system as RemoteError, in one line; file systems have their own error types."""
        try:
            yield
        except SatclipIndexError:
            raise
        except Exception as error:
            raise RemoteError(f"{self}/{name} could not be {action} ({one_line(error, with_type=True)}).") from error

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, or None if it does not exist."""
        with self._remote_errors("read", name):
            try:
                return bytes(self._fs.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def sizes(self) -> dict[str, int]:
        """Return the size of every file below the URL, by name."""
        with self._remote_errors("listed"):
            self._fs.invalidate_cache()  # other processes write there, too
            try:
                files = self._fs.find(self._opened[1], detail=True)
            except FileNotFoundError:
                return {}
            names = {path.removeprefix(self._at("")): int(info["size"] or 0) for path, info in files.items()}
        return {name: size for name, size in names.items() if name}

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file unless it exists, and return whether it was written; atomic if the file system allows."""
        with self._remote_errors("written", name):
            try:
                return self._create(name, content)
            except FileNotFoundError:  # file systems with real folders; buckets are not created
                self._fs.mkdir(self._opened[1], create_parents=False)
                return self._create(name, content)

    def _create(self, name: str, content: bytes) -> bool:
        try:
            self._fs.pipe_file(self._at(name), content, mode="create")
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except (OSError, NotImplementedError):  # no atomic creation
            if self._fs.exists(self._at(name)):
                return False
            self._fs.pipe_file(self._at(name), content)
        return True

    def put(self, path: Path, name: str) -> None:
        """Upload a file."""
        with self._remote_errors("written", name):
            self._fs.put_file(str(path), self._at(name))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, which must exist."""
        with self._remote_errors("cleaned up"):
            if paths := [self._at(name) for name in names]:
                self._fs.rm(paths)

    def get(self, file: FileEntry, folder: Path, progress: Callable[[int], None] | None = None) -> None:
        """Download a file to a folder, atomically and only if it matches the size and checksum of its entry.

        ``progress`` is called with the number of bytes received so far.

        Raises
        ------
        CorruptAtlasError
            If the file does not match its entry.
        RemoteError
            If it cannot be downloaded.
        """
        from fsspec.callbacks import Callback

        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        callback = Callback(hooks={"progress": lambda _, value, **__: progress(value)} if progress else {})
        with atomic_path(target) as partial:
            with self._remote_errors("downloaded", file.path):
                self._fs.get_file(self._at(file.path), str(partial), callback=callback)
            received = FileEntry.of(folder, partial)
            if (received.size, received.sha256) != (file.size, file.sha256):
                raise CorruptAtlasError(
                    f"{self}/{file.path} is damaged: {received.size} bytes, SHA-256 {received.sha256[:12]}; expected "
                    f"{file.size} and {file.sha256[:12]}. If the atlas was being replaced, try again; otherwise "
                    "build it again."
                )


def _install_hint(url: str) -> str:
    """Return how to install the package that a URL needs."""
    from fsspec.registry import known_implementations

    scheme = url.partition("://")[0].rpartition("::")[2]
    package = known_implementations.get(scheme, {}).get("class", "").partition(".")[0]
    return (
        f"it needs {package}. Run: pip install {package}" if package and package != "fsspec" else "a package is missing"
    )
