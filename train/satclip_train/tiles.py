"""Sentinel-2 tiles on disk: a folder of GeoTIFFs or tar shards, and a table of where each was taken."""

import csv
import logging
import math
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from satclip_index.coordinates import check_coordinates
from satclip_index.errors import CoordinateError, DataError

logger = logging.getLogger(__name__)

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""What a tile of S2-100K holds, in order."""
B10_INDEX = 10
"""Where the towers, trained on level-1C images, want the missing cirrus band."""
REFLECTANCE_SCALE = 10_000.0
MIN_BYTES = 10_000
"""The released loader skips smaller files: they hold nothing but nodata."""


class BadTileError(DataError):
    """One tile cannot be used."""


@dataclass(slots=True)
class BadTiles:
    """The tiles left out, each told of once.

    Parameters
    ----------
    total : int
        How many tiles the table names.
    max_share : float
        Above this share of bad tiles, :meth:`check` refuses to go on.
    """

    total: int
    max_share: float = 0.05
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Note a bad tile, and warn of it the first time."""
        if name not in self.reasons:
            self.reasons[name] = reason
            logger.warning("Tile %s is left out: %s.", name, reason)

    def check(self) -> None:
        """Raise DataError if more than ``max_share`` of all tiles are bad."""
        if len(self.reasons) > self.max_share * self.total:
            name, reason = next(iter(self.reasons.items()))
            raise DataError(
                f"{len(self.reasons)} of {self.total} tiles are unusable, more than the {self.max_share:.0%} allowed; "
                f"first is {name}: {reason}. Mend the data, or raise max_bad_share."
            )

    def summary(self) -> str:
        """Return one line: how many tiles are used, and how many were left out for which kinds of reasons."""
        kinds: dict[str, int] = {}
        for reason in self.reasons.values():
            kind = reason.split(":")[0]
            kinds[kind] = kinds.get(kind, 0) + 1
        left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return f"{self.total - len(self.reasons):,} of {self.total:,} tiles used" + (
            f"; left out: {left_out}" if kinds else ""
        )


@dataclass(frozen=True, slots=True)
class _Where:
    """A file, or a run of bytes in a tar shard."""

    path: Path
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


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
    ) -> None:
        self.names, self.lon, self.lat, self.bad = list(names), lon, lat, bad
        self._where, self._bands = list(where), bands

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int) -> NDArray[np.uint16]:
        """Return the pixels of one tile, (bands, height, width) uint16.

        Raises
        ------
        BadTileError
            If the file is truncated, not an image, has other bands, or holds nothing but nodata.
        """
        where = self._where[i]
        try:
            with rasterio.MemoryFile(where.read()) as memory, memory.open() as image:
                if image.count != self._bands:
                    raise BadTileError(f"band count: {image.count}, expected {self._bands}")
                pixels: NDArray[np.uint16] = image.read()
        except (RasterioError, OSError) as error:
            raise BadTileError(f"unreadable: {' '.join(str(error).split())[:100]}") from None
        if pixels.dtype != np.uint16:
            raise BadTileError(f"type: {pixels.dtype}, expected uint16")
        if not pixels.any():
            raise BadTileError("nodata: every pixel is 0")
        return pixels

    def readable(self, rows: Sequence[int]) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """Yield each tile of some rows that can be read, with its row; the others are noted in ``bad``."""
        for row in rows:
            try:
                yield row, self.read(row)
            except BadTileError as error:
                self.bad.add(self.names[row], str(error))
                self.bad.check()


def open_tiles(
    folder: Path, *, table: Path | None = None, max_bad_share: float = 0.05, bands: int = len(BANDS)
) -> Tiles:
    """Return the tiles of a data set: S2-100K as distributed, or any folder of GeoTIFFs with a table.

    Parameters
    ----------
    folder : Path
        Holds ``index.csv`` beside ``images/``, or ``*.tar`` shards, here or in ``data/``.
    table : Path, optional
        A CSV file with columns fn, lon and lat, in any order, others ignored; ``folder/index.csv`` by default.
    max_bad_share : float
        Share of tiles that may be unusable.
    bands : int
        Bands that every tile must have.

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
    bad = BadTiles(len(rows), max_bad_share)
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
    return Tiles(names, *check_coordinates(lon_lat[:, 0], lon_lat[:, 1]), where, bad, bands=bands)


def reflectance(pixels: NDArray[np.uint16], *, offset: int = 0) -> NDArray[np.float32]:
    """Return a tile as the towers take it: 13 bands, with zeros where level 1C has B10.

    Parameters
    ----------
    pixels : (12, height, width) uint16
        Bands in the order of ``BANDS``.
    offset : int
        Subtracted first, down to 0, from every pixel that is not nodata: 1000 for images of processing baseline 04.00
        and later that were not harmonised.

    Returns
    -------
    (13, height, width) float32
        Reflectance: digital numbers divided by 10,000.
    """
    values = pixels.astype(np.float32)
    if offset:
        values = np.where(pixels > 0, np.maximum(values - offset, 0.0), 0.0).astype(np.float32)
    zeros = np.zeros((1, *pixels.shape[1:]), dtype=np.float32)
    return np.concatenate([values[:B10_INDEX], zeros, values[B10_INDEX:]]) / np.float32(REFLECTANCE_SCALE)


def _read_table(path: Path) -> list[tuple[str, float, float]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacking = {"fn", "lon", "lat"} - set(reader.fieldnames or ())
        if lacking:
            raise DataError(f"{path} has no column {', '.join(sorted(lacking))}; expected fn, lon, lat.")
        return [(row["fn"], _number(row["lon"]), _number(row["lat"])) for row in reader]


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
