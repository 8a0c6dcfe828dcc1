"""Sentinel-2 tiles on disk: a folder of GeoTIFFs or tar shards, and a table of their coordinates."""

import csv
import hashlib
import logging
import math
import tarfile
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from satclip_index.errors import CoordinateError, DataError, one_line, require_extra
from satclip_index.geo.coordinates import check_coordinates

from .bad_tiles import BadTileError, BadTiles

with require_extra("rasterio", "train"):
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

logger = logging.getLogger(__name__)

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""The bands of a tile of S2-100K, in order."""
B10_INDEX = 10
"""Position of the missing cirrus band in the input of the towers, which are trained on level-1C images."""
REFLECTANCE_SCALE = 10_000.0
MIN_BYTES = 10_000
"""The released loader skips smaller files, which contain only nodata."""
TILE_PIXELS = 256
_SAMPLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _ByteRange:
    """The bytes of an image: a whole file, or a member of a tar shard."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def crc(self) -> int:
        """Return a checksum of both ends, where the directory of a TIFF is: it changes with almost any new image."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            crc = zlib.crc32(file.read(min(self.size, _SAMPLE_BYTES)))
            file.seek(self.offset + max(0, self.size - _SAMPLE_BYTES))
            return zlib.crc32(file.read(min(self.size, _SAMPLE_BYTES)), crc)


class Tiles:
    """Tiles by row, with their coordinates; created by :func:`open_tiles`.

    Attributes
    ----------
    names : list of str
        File names, in the order of the table.
    lon, lat : (n,) float64
        Degrees.
    bad : BadTiles
        The tiles left out so far.
    """

    def __init__(
        self,
        names: Sequence[str],
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
        files: Sequence[_ByteRange],
        bad: BadTiles,
        *,
        bands: int = len(BANDS),
        pixels: int = TILE_PIXELS,
    ) -> None:
        self.names, self.lon, self.lat, self.bad = list(names), lon, lat, bad
        self._files, self._bands, self._pixels = list(files), bands, pixels

    def __len__(self) -> int:
        return len(self.names)

    def read(self, row: int) -> NDArray[np.uint16]:
        """Return the pixels of one tile, (bands, pixels, pixels) uint16, or the center of a larger one.

        Raises
        ------
        BadTileError
            If the file is truncated, is not an image, is too small, has other bands, or contains only nodata.
        """
        try:
            with rasterio.MemoryFile(self._files[row].read()) as memory, memory.open() as image:
                if image.count != self._bands:
                    raise BadTileError(f"band count: {image.count}, expected {self._bands}")
                if set(image.dtypes) != {"uint16"}:
                    raise BadTileError(f"type: {image.dtypes[0]}, expected uint16")
                if min(image.shape) < self._pixels:
                    raise BadTileError(f"size: {image.width} x {image.height} pixels, expected {self._pixels} a side")
                pixels: NDArray[np.uint16] = image.read()
        except (RasterioError, OSError) as error:
            raise BadTileError(f"unreadable: {one_line(error)}") from None
        top, left = ((side - self._pixels) // 2 for side in pixels.shape[1:])
        pixels = pixels[:, top : top + self._pixels, left : left + self._pixels]
        if not pixels.any():
            raise BadTileError("nodata: every pixel is 0")
        return pixels

    def readable(self, *, threads: int = 1, progress: Callable[[int, int], None] | None = None) -> "Tiles":
        """Return the tiles that can be read, after trying each; the others are added to ``bad``."""

        def problem(row: int) -> str | None:
            try:
                self.read(row)
            except BadTileError as error:
                return str(error)
            return None

        good = []
        with ThreadPoolExecutor(threads) as pool:
            for row, reason in enumerate(pool.map(problem, range(len(self)))):
                if reason is None:
                    good.append(row)
                else:
                    self.bad.add(self.names[row], reason)
                    self.bad.check()
                if progress is not None:
                    progress(row + 1, len(self))
        return self.take(good)

    def take(self, rows: Sequence[int]) -> "Tiles":
        """Return some of the tiles, which share the record of bad ones."""
        return Tiles(
            [self.names[row] for row in rows],
            self.lon[list(rows)],
            self.lat[list(rows)],
            [self._files[row] for row in rows],
            self.bad,
            bands=self._bands,
            pixels=self._pixels,
        )

    def fingerprint(self) -> str:
        """Return a SHA-256 of names, coordinates, sizes and samples of the bytes; it does not depend on the folder."""
        digest = hashlib.sha256(f"{self._bands} {self._pixels}".encode())
        digest.update(self.lon.tobytes() + self.lat.tobytes())
        for name, file in zip(self.names, self._files, strict=True):
            digest.update(f"{Path(name).name} {file.size} {file.crc()}\n".encode())
        return digest.hexdigest()


def open_tiles(
    folder: Path,
    *,
    table: Path | None = None,
    max_bad_share: float = 0.05,
    bands: int = len(BANDS),
    pixels: int = TILE_PIXELS,
    warn: bool = True,
) -> Tiles:
    """Return the tiles of a data set: S2-100K as distributed, or any folder of GeoTIFFs with a table.

    Parameters
    ----------
    folder : Path
        Contains ``index.csv`` and the images, in ``images/``, in the folder itself, or in ``*.tar`` shards, or has them
        in its subfolder ``data/``.
    table : Path, optional
        A CSV file with columns fn, lon and lat, in any order; others are ignored. ``index.csv`` by default.
    max_bad_share : float
        Share of tiles that may be unusable.
    bands, pixels : int
        Number of bands of every tile, and its edge in pixels.
    warn : bool
        Whether to log a warning for each bad tile.

    Returns
    -------
    Tiles
        Those that exist, have at least 10 kB, and have valid coordinates; the others are in ``bad``.

    Raises
    ------
    DataError
        If the table or the images are missing, or too many tiles are bad.
    """
    table = table or next(
        (path for path in (folder / "index.csv", folder / "data" / "index.csv") if path.is_file()), None
    )
    if table is None or not table.is_file():
        raise DataError(
            f"No table of tiles at {table or folder / 'index.csv'}; expected a CSV file with columns fn, lon, lat."
        )
    rows = _read_table(table)
    images = _images_below(folder)
    if not images:
        raise DataError(f"No images below {folder}; expected images/*.tif, or *.tar shards.")
    # The table has the coordinates, so the files need not be georeferenced.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    bad = BadTiles(len(rows), max_bad_share, warn)
    names, points, files = [], [], []
    for name, lon, lat in rows:
        file = images.get(Path(name).name)
        try:
            if file is None:
                raise BadTileError("missing")
            if file.size < MIN_BYTES:
                raise BadTileError(f"nodata: {file.size} bytes, under {MIN_BYTES}")
            check_coordinates(lon, lat)
        except CoordinateError:
            bad.add(name, f"coordinates: {lon}, {lat}")
        except BadTileError as error:
            bad.add(name, str(error))
        else:
            names.append(name)
            points.append((lon, lat))
            files.append(file)
    bad.check()
    lon_lat = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return Tiles(names, *check_coordinates(lon_lat[:, 0], lon_lat[:, 1]), files, bad, bands=bands, pixels=pixels)


def _read_table(path: Path) -> list[tuple[str, float, float]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = {"fn", "lon", "lat"} - set(reader.fieldnames or ())
            if missing:
                raise DataError(f"{path} has no column {', '.join(sorted(missing))}; expected fn, lon, lat.")
            rows = [(row["fn"] or "", _number(row["lon"]), _number(row["lat"])) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    if not rows:
        raise DataError(f"{path} contains no rows.")
    return rows


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _images_below(folder: Path) -> dict[str, _ByteRange]:
    """Return every image by name: loose files, and members of tar shards."""
    images: dict[str, _ByteRange] = {}
    for root in (folder / "images", folder / "data" / "images", folder):
        if root.is_dir() and (files := sorted(root.glob("*.tif")) + sorted(root.glob("*.tiff"))):
            images |= {file.name: _ByteRange(file, 0, file.stat().st_size) for file in files}
            break
    for shard in sorted(folder.glob("*.tar")) + sorted((folder / "data").glob("*.tar")):
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    if member.isfile():
                        images.setdefault(Path(member.name).name, _ByteRange(shard, member.offset_data, member.size))
        except (tarfile.TarError, OSError) as error:
            logger.warning("Shard %s is truncated: %s.", shard, error)
    return images
