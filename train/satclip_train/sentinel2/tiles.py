"""Sentinel-2 tiles on disk: a folder of GeoTIFFs or tar shards, and a table of where each was taken."""

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
"""What a tile of S2-100K holds, in order."""
B10_INDEX = 10
"""Where the towers, trained on level-1C images, want the missing cirrus band."""
REFLECTANCE_SCALE = 10_000.0
MIN_BYTES = 10_000
"""The released loader skips smaller files: they hold nothing but nodata."""
TILE_PIXELS = 256
_SAMPLE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Where:
    """A file, or a run of bytes in a tar shard."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def crc(self) -> int:
        """Return a checksum of both ends, where a TIFF keeps its directory: a new image hardly leaves it alone."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            crc = zlib.crc32(file.read(min(self.size, _SAMPLE_BYTES)))
            file.seek(self.offset + max(0, self.size - _SAMPLE_BYTES))
            return zlib.crc32(file.read(min(self.size, _SAMPLE_BYTES)), crc)


class Tiles:
    """Tiles by number, with their coordinates; make one with :func:`open_tiles`.

    Attributes
    ----------
    names : list of str
        File names, in the order of the table.
    lon, lat : (n,) float64
        Degrees.
    bad : BadTiles
        What was left out, so far.
    """

    def __init__(
        self,
        names: Sequence[str],
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
        where: Sequence[_Where],
        bad: BadTiles,
        *,
        bands: int = len(BANDS),
        pixels: int = TILE_PIXELS,
    ) -> None:
        self.names, self.lon, self.lat, self.bad = list(names), lon, lat, bad
        self._where, self._bands, self._pixels = list(where), bands, pixels

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> NDArray[np.uint16]:
        """Return the pixels of one tile, (bands, pixels, pixels) uint16; of a larger one, its middle.

        Raises
        ------
        BadTileError
            If the file is truncated, not an image, too small, has other bands, or holds nothing but nodata.
        """
        try:
            with rasterio.MemoryFile(self._where[i].read()) as memory, memory.open() as image:
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

    def sound(self, *, threads: int = 1, progress: Callable[[int, int], None] | None = None) -> "Tiles":
        """Return the tiles that can be read, every one tried; the others are noted in ``bad``."""

        def reason(i: int) -> str | None:
            try:
                self.read(i)
            except BadTileError as error:
                return str(error)
            return None

        good = []
        with ThreadPoolExecutor(threads) as pool:
            for i, trouble in enumerate(pool.map(reason, range(len(self)))):
                if trouble is None:
                    good.append(i)
                else:
                    self.bad.add(self.names[i], trouble)
                    self.bad.check()
                if progress is not None:
                    progress(i + 1, len(self))
        return self.take(good)

    def take(self, rows: Sequence[int]) -> "Tiles":
        """Return some of the tiles, with the same record of bad ones."""
        return Tiles(
            [self.names[i] for i in rows],
            self.lon[list(rows)],
            self.lat[list(rows)],
            [self._where[i] for i in rows],
            self.bad,
            bands=self._bands,
            pixels=self._pixels,
        )

    def fingerprint(self) -> str:
        """Return a SHA-256 of names, coordinates, sizes and samples of the bytes; where they lie does not count."""
        digest = hashlib.sha256(f"{self._bands} {self._pixels}".encode())
        digest.update(self.lon.tobytes() + self.lat.tobytes())
        for name, where in zip(self.names, self._where, strict=True):
            digest.update(f"{Path(name).name} {where.size} {where.crc()}\n".encode())
        return digest.hexdigest()


def open_tiles(
    folder: Path,
    *,
    table: Path | None = None,
    max_bad_share: float = 0.05,
    bands: int = len(BANDS),
    pixels: int = TILE_PIXELS,
    report: bool = True,
) -> Tiles:
    """Return the tiles of a data set: S2-100K as distributed, or any folder of GeoTIFFs with a table.

    Parameters
    ----------
    folder : Path
        Holds ``index.csv`` beside ``images/``, loose files, or ``*.tar`` shards, here or in ``data/``.
    table : Path, optional
        A CSV file with columns fn, lon and lat, in any order, others ignored; ``folder/index.csv`` by default.
    max_bad_share : float
        Share of tiles that may be unusable.
    bands, pixels : int
        Bands that every tile must have, and pixels a side.
    report : bool
        Whether bad tiles are warned of.

    Returns
    -------
    Tiles
        Those that are there, are larger than 10 kB, and have coordinates; what was left out is in ``bad``.

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
    held = _images_below(folder)
    if not held:
        raise DataError(f"No images below {folder}; expected images/*.tif, or *.tar shards.")
    # A tile's place stands in the table, so a file without one is no matter.
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    bad = BadTiles(len(rows), max_bad_share, report)
    names, places, where = [], [], []
    for name, lon, lat in rows:
        found = held.get(Path(name).name)
        try:
            if found is None:
                raise BadTileError("missing")
            if found.size < MIN_BYTES:
                raise BadTileError(f"nodata: {found.size} bytes, under {MIN_BYTES}")
            check_coordinates(lon, lat)
        except CoordinateError:
            bad.add(name, f"coordinates: {lon}, {lat}")
        except BadTileError as error:
            bad.add(name, str(error))
        else:
            names.append(name)
            places.append((lon, lat))
            where.append(found)
    bad.check()
    lon_lat = np.asarray(places, dtype=np.float64).reshape(-1, 2)
    return Tiles(names, *check_coordinates(lon_lat[:, 0], lon_lat[:, 1]), where, bad, bands=bands, pixels=pixels)


def _read_table(path: Path) -> list[tuple[str, float, float]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            lacking = {"fn", "lon", "lat"} - set(reader.fieldnames or ())
            if lacking:
                raise DataError(f"{path} has no column {', '.join(sorted(lacking))}; expected fn, lon, lat.")
            rows = [(row["fn"] or "", _number(row["lon"]), _number(row["lat"])) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    if not rows:
        raise DataError(f"{path} names no tile.")
    return rows


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _images_below(folder: Path) -> dict[str, _Where]:
    """Return every image by name: loose files, and members of tar shards."""
    held: dict[str, _Where] = {}
    for root in (folder / "images", folder / "data" / "images", folder):
        if root.is_dir() and (files := sorted(root.glob("*.tif")) + sorted(root.glob("*.tiff"))):
            held |= {file.name: _Where(file, 0, file.stat().st_size) for file in files}
            break
    for shard in sorted(folder.glob("*.tar")) + sorted((folder / "data").glob("*.tar")):
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    if member.isfile():
                        held.setdefault(Path(member.name).name, _Where(shard, member.offset_data, member.size))
        except (tarfile.TarError, OSError) as error:
            logger.warning("Shard %s ends early: %s.", shard, error)
    return held
