"""The feature cache: features of several views of each tile by the frozen tower, on disk."""

import json
import logging
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from satclip_index.errors import DataError
from satclip_index.storage.atomic import atomic_file

from .augment import AUGMENTATION
from .config import S2Config
from .tiles import Tiles, open_tiles
from .vision_towers import identify_weights

logger = logging.getLogger(__name__)
MANIFEST = "cache.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Everything that the features of a cache depend on."""

    data: str
    offset: int
    tower: str
    weights: str
    augmentation: str
    views: int
    dtype: str
    shard_tiles: int
    seed: int

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Return the names of the fields that differ."""
        return [name for name, value in asdict(self).items() if other.get(name) != value]


@dataclass(frozen=True, slots=True)
class Cache:
    """Features in shards, mapped into memory; created by :func:`open_cache`.

    Attributes
    ----------
    names : list of str
        File names of the tiles.
    lon, lat : (n,) float64
        Degrees.
    head_name : str
        Name of the last layer of the tower.
    left_out : str
        The summary of bad tiles.
    """

    names: list[str]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    head_name: str
    left_out: str
    _views: list[NDArray[Any]]
    _plain: list[NDArray[Any]]
    _starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def views(self) -> int:
        """Number of augmented views of each tile."""
        return int(self._views[0].shape[1])

    @property
    def dim_features(self) -> int:
        """Width of a feature vector."""
        return int(self._views[0].shape[2])

    def features(self, rows: NDArray[np.int64], views: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return one view of each tile, (n, dim_features) float32; the plain view unless ``views`` is given."""
        out = np.empty((rows.size, self.dim_features), dtype=np.float32)
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(shard):
            positions = np.flatnonzero(shard == number)
            local = rows[positions] - self._starts[number]
            out[positions] = (
                self._plain[number][local] if views is None else self._views[number][local, views[positions]]
            )
        return out


def open_cache(config: S2Config) -> Cache:
    """Return the finished cache of a configuration.

    The tiles need not be available. Without them, the cache is assumed to be of the same data.

    Raises
    ------
    DataError
        If the cache is missing, unfinished, or was computed from other inputs; the message names them.
    """
    folder = Path(config.cache.folder)
    if not (folder / MANIFEST).exists():
        raise DataError(f"No feature cache at {folder}. Compute it: satclip-index train features CONFIG")
    manifest = read_manifest(folder)
    stored = manifest["fingerprint"]
    tiles = tiles_of(config, warn=False) if Path(config.data.tiles).exists() else None
    expected = fingerprint_of(config, tiles)
    if tiles is None:
        logger.warning("%s is missing, so the cache cannot be checked against its tiles.", config.data.tiles)
        expected = Fingerprint(**(asdict(expected) | {"data": str(stored.get("data"))}))
    refuse_stale(folder, manifest, expected)
    if not manifest["complete"]:
        raise DataError(f"The feature cache at {folder} is not finished. Resume: satclip-index train features CONFIG")
    names: list[str] = []
    shards: dict[str, list[NDArray[Any]]] = {key: [] for key in ("lon", "lat", "views", "plain")}
    for shard in range(manifest["shards"]):
        path = folder / f"shard-{shard:05d}.safetensors"
        header, start = shard_header(path)
        shard_names = json.loads(header["__metadata__"]["names"])
        if shard_names:
            names += shard_names
            for key, arrays in shards.items():
                arrays.append(_map_tensor(path, header[key], start))
    counts = [len(lon) for lon in shards["lon"]]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    lon, lat = np.concatenate(shards["lon"]), np.concatenate(shards["lat"])
    return Cache(names, lon, lat, manifest["head_name"], manifest["left_out"], shards["views"], shards["plain"], starts)


def tiles_of(config: S2Config, *, warn: bool = True) -> Tiles:
    """Return the tiles of a configuration; ``warn`` is whether to log a warning for each bad tile."""
    table = Path(config.data.table) if config.data.table else None
    return open_tiles(Path(config.data.tiles), table=table, max_bad_share=config.data.max_bad_share, warn=warn)


def fingerprint_of(config: S2Config, tiles: Tiles | None) -> Fingerprint:
    """Return everything that the features of a configuration depend on."""
    return Fingerprint(
        data=tiles.fingerprint() if tiles else "",
        offset=config.data.offset,
        tower=config.tower.name,
        weights=identify_weights(config.tower.name, config.tower.weights, config.seed),
        augmentation=AUGMENTATION,
        views=config.cache.views,
        dtype=config.cache.dtype,
        shard_tiles=config.cache.shard_tiles,
        seed=config.seed,
    )


def refuse_stale(folder: Path, manifest: dict[str, Any], expected: Fingerprint) -> None:
    """Raise DataError if a cache was not computed from the expected inputs."""
    if manifest.get("format") != FORMAT:
        raise DataError(f"The feature cache at {folder} has format {manifest.get('format')!r}; expected {FORMAT}.")
    if changed := expected.differences(manifest["fingerprint"]):
        name = changed[0]
        raise DataError(
            f"The feature cache at {folder} is stale: {', '.join(changed)} changed; {name} was "
            f"{manifest['fingerprint'].get(name)!r} and is {getattr(expected, name)!r}. Set another cache.folder, or "
            "delete this one."
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a cache."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("fingerprint"), dict):
        raise DataError(f"{folder / MANIFEST} is not the manifest of a feature cache. Delete the folder.")
    return manifest


def shard_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the offset of its data."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(size))
        end = max((value["data_offsets"][1] for key, value in header.items() if key != "__metadata__"), default=0)
        if path.stat().st_size != 8 + size + end:
            raise ValueError("its size is wrong")
    except (OSError, ValueError, struct.error) as error:
        raise DataError(
            f"{path} is damaged ({error}). Delete it, and resume: satclip-index train features CONFIG"
        ) from None
    return header, 8 + size


def _map_tensor(path: Path, entry: dict[str, Any], start: int) -> NDArray[Any]:
    """Return a tensor of a safetensors file as an array mapped into memory."""
    dtype = {"F16": np.float16, "F32": np.float32, "F64": np.float64}[entry["dtype"]]
    return np.memmap(path, dtype=dtype, mode="r", offset=start + entry["data_offsets"][0], shape=tuple(entry["shape"]))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document atomically."""
    with atomic_file(path) as file:
        file.write(f"{json.dumps(document, indent=2)}\n".encode())
