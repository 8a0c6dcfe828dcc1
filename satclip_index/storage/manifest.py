"""The manifest of an atlas: its contents and files. It is written last, so its presence marks a complete atlas."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..checks import is_whole_number
from ..errors import AtlasNotFoundError, CorruptAtlasError, ResolutionError, one_line
from .atomic import atomic_file

FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
ENCODER_NAME = "encoder.safetensors"
_LIBRARIES = ("satclip-index", "numpy", "torch", "h3", "h3ronpy", "pyarrow", "faiss-cpu", "faiss-gpu")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of an atlas: its path inside the atlas, its size in bytes and its SHA-256."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, root: Path, path: Path) -> Self:
        """Return the entry of a file on disk."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path.relative_to(root).as_posix(), path.stat().st_size, digest)


@dataclass(frozen=True, slots=True)
class ResolutionEntry:
    """The contents of an atlas at one resolution.

    ``codes_offset`` is the byte offset of the first vector in ``index.faiss``; ``list_res`` is the resolution of the
    ancestors that are its inverted lists. ``similarity_quantiles`` are the quantiles of similarity among random pairs
    of land cells, at the levels ``similarity_levels`` in [0, 1].
    """

    count: int
    land_count: int
    list_res: int
    codes_offset: int
    similarity_levels: tuple[float, ...]
    similarity_quantiles: tuple[float, ...]

    def percentile(self, similarity: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the percentage of random pairs of land cells with a lower similarity, for each similarity."""
        levels = np.asarray(self.similarity_levels) * 100
        percentile: NDArray[np.float64] = np.interp(similarity, np.asarray(self.similarity_quantiles), levels)
        return percentile

    def similarity_at(self, percentile: float) -> float:
        """Return the similarity at a percentile of random pairs of land cells."""
        return float(np.interp(percentile / 100, self.similarity_levels, self.similarity_quantiles))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of ``manifest.json``.

    ``components`` describes the cells that the principal components were fitted on, and the variance shares of the
    first components. ``sha256`` is the checksum of the manifest itself, computed with this field empty.
    """

    encoder: dict[str, Any]
    dim: int
    dtype: str
    land_only: bool
    resolutions: dict[int, ResolutionEntry]
    files: tuple[FileEntry, ...]
    libraries: dict[str, str]
    components: dict[str, Any]
    format_version: int = FORMAT_VERSION
    sha256: str = ""

    def entry(self, res: int) -> ResolutionEntry:
        """Return the entry of a resolution, or raise ResolutionError with the resolutions of the atlas."""
        if res not in self.resolutions:
            available = ", ".join(map(str, self.resolutions))
            raise ResolutionError(
                f"The atlas holds resolution {available}, not {res}. "
                f"Use one of these, or build an atlas with --res {res}."
            )
        return self.resolutions[res]

    def cell_files(self, res: int) -> list[str]:
        """Return the Parquet files of a resolution, in row order."""
        return sorted(entry.path for entry in self.files if entry.path.startswith(f"res={res}/cells/"))

    def write(self, root: Path) -> None:
        """Write the manifest into an atlas folder, atomically."""
        described = asdict(self) | {"sha256": ""}
        described["resolutions"] = {str(res): asdict(entry) for res, entry in self.resolutions.items()}
        described["sha256"] = hashlib.sha256(_text(described)).hexdigest()
        with atomic_file(root / MANIFEST_NAME) as file:
            file.write(_text(described))

    @classmethod
    def read(cls, root: Path, *, check_files: bool = True) -> Self:
        """Return the manifest of an atlas, after a check of the size of each file.

        Raises
        ------
        AtlasNotFoundError
            If the folder has no finished atlas.
        CorruptAtlasError
            If the manifest cannot be read or has another format version, or a file is missing or has another size.
        """
        path = root / MANIFEST_NAME
        if not path.is_file():
            raise AtlasNotFoundError(f"No atlas at {root}/. Build one: satclip-index build --atlas {root}")
        remedy = _remedy(root)
        try:
            text = path.read_bytes()
        except OSError as error:
            raise CorruptAtlasError(f"{path} cannot be read ({one_line(error)}). {remedy}") from None
        manifest = cls.parse(text, str(root))
        if check_files and (wrong := next(manifest.wrong_sizes(root), None)):
            if not manifest._is_current(root):  # the atlas was replaced after the manifest was read
                return cls.read(root)
            raise CorruptAtlasError(f"{root / wrong[0]} {wrong[1]}. {remedy}")
        return manifest

    @classmethod
    def parse(cls, text: bytes, where: str) -> Self:
        """Return a manifest from its text, or raise CorruptAtlasError; ``where`` names the atlas in messages."""
        name, remedy = f"{where}/{MANIFEST_NAME}", _remedy(where)
        try:
            raw = json.loads(text.decode())
            version = raw["format_version"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptAtlasError(f"{name} cannot be read ({one_line(error)}). {remedy}") from None
        if version != FORMAT_VERSION:
            raise CorruptAtlasError(
                f"{name} has format version {version!r}; this program reads {FORMAT_VERSION}. "
                "Use the version of satclip-index that built it, or build it again with --force."
            )
        try:
            resolutions = {
                int(res): ResolutionEntry(
                    **entry
                    | {key: tuple(map(float, entry[key])) for key in ("similarity_levels", "similarity_quantiles")}
                )
                for res, entry in raw["resolutions"].items()
            }
            files = tuple(FileEntry(**entry) for entry in raw["files"])
            manifest = cls(**raw | {"resolutions": dict(sorted(resolutions.items())), "files": files})
            manifest._check_values()
            manifest._check_paths(name)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, CorruptAtlasError):
                raise
            raise CorruptAtlasError(f"{name} is not a manifest of an atlas ({one_line(error)}). {remedy}") from None
        return manifest

    def _check_values(self) -> None:
        """Raise ValueError, KeyError or TypeError if a value is missing or impossible."""
        if not self.resolutions or not isinstance(self.encoder["name"], str):
            raise ValueError("no resolution or no encoder is named")
        for name in ("sha256", "origin", "hyperparameters"):
            self.encoder[name]
        for name in ("res", "fitted_on", "cells", "variance_shares"):
            self.components[name]
        listed = {entry.path for entry in self.files}
        for res, entry in self.resolutions.items():
            numbers = (res, self.dim, entry.count, entry.land_count, entry.list_res, entry.codes_offset)
            if not all(is_whole_number(number) and number >= 0 for number in numbers) or self.dim < 1:
                raise ValueError(f"a number of resolution {res} is not a whole number of at least 0")
            if not 0 < len(entry.similarity_levels) == len(entry.similarity_quantiles):
                raise ValueError(f"the quantiles of resolution {res} do not match their levels")
            if not self.cell_files(res) or not {f"res={res}/index.faiss", f"res={res}/tree.safetensors"} <= listed:
                raise ValueError(f"files of resolution {res} are not listed")

    def check_current(self, root: Path) -> None:
        """Raise CorruptAtlasError if the atlas was replaced after this manifest was read.

        Files that are open already remain usable; files opened later must not be mixed with them.
        """
        if not self._is_current(root):
            raise CorruptAtlasError(f"The atlas at {root}/ was replaced or removed while it was open. Open it again.")

    def _is_current(self, root: Path) -> bool:
        try:
            return self.sha256.encode() in (root / MANIFEST_NAME).read_bytes()
        except OSError:
            return False

    def wrong_sizes(self, root: Path) -> Iterator[tuple[str, str]]:
        """Yield the path of each file that is missing or has another size, and what is wrong with it."""
        for entry in self.files:
            file = root / entry.path
            if not file.is_file():
                yield entry.path, "is missing"
            elif (size := file.stat().st_size) != entry.size:
                yield entry.path, f"has {size} bytes; expected {entry.size}"

    def _check_paths(self, name: str) -> None:
        for entry in self.files:
            parts = PurePosixPath(entry.path).parts
            if entry.path.startswith(("/", "\\")) or ".." in parts or ":" in entry.path:
                raise CorruptAtlasError(
                    f"{name} lists {entry.path!r}, which is outside of the atlas. Do not use this atlas."
                )


def is_unmodified(text: bytes) -> bool:
    """Return whether the text of a manifest matches its checksum; True if it has none."""
    try:
        described = json.loads(text)
        recorded = described.get("sha256", "")
        computed = hashlib.sha256(_text(described | {"sha256": ""})).hexdigest()
        return bool(_text(described) == text and recorded in ("", computed))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return False


def _text(described: dict[str, Any]) -> bytes:
    return (json.dumps(described, indent=1, sort_keys=True) + "\n").encode()


def library_versions(names: Iterable[str] = _LIBRARIES) -> dict[str, str]:
    """Return the installed versions of the libraries that an atlas depends on."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _remedy(where: str | Path) -> str:
    return f"Build it again: satclip-index build --atlas {where} --force"
