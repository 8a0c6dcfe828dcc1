"""The land mask."""

import zipfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

_FILE_NAME = "globe_combined_mask_compressed.npz"  # of global-land-mask 1.0
_BLOCK_BYTES = 1 << 18


class _Mask(NamedTuple):
    """The run-length encoded mask: pixels in row order, starting as sea, switch between sea and land at ``changes``."""

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    changes: NDArray[np.int64]


def is_land(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each point, (n,) degrees, is land in the GLOBE mask of one kilometer; lakes and ice are land.

    Notes
    -----
    Results equal those of ``global_land_mask.globe.is_land``, whose import takes 0.9 GB of memory: one byte per pixel.
    This function reads the same file as 0.8 million runs of land and sea, in about two seconds once per process.
    """
    lon = np.clip(lon, -180.0, np.nextafter(180.0, 0.0))  # the mask has no column for 180 itself
    mask = _installed_mask()
    if mask is None:
        from global_land_mask import globe

        return cast("NDArray[np.bool_]", globe.is_land(lat, lon))
    pixels = _positions(lat, mask.lat) * mask.lon.size + _positions(lon, mask.lon)
    land: NDArray[np.bool_] = np.searchsorted(mask.changes, pixels, "right") % 2 == 1
    return land


@lru_cache(maxsize=1)
def _installed_mask() -> _Mask | None:
    """Return the mask from the installed files of global-land-mask, without importing it."""
    spec = find_spec("global_land_mask")
    folders = (spec and spec.submodule_search_locations) or [""]
    return _read_mask(Path(folders[0]) / _FILE_NAME)


def _read_mask(path: Path) -> _Mask | None:
    """Read the mask from a file, one block at a time; return None if the file has another layout."""
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open("lat.npy") as member:
                lat = np.lib.format.read_array(member)
            with archive.open("lon.npy") as member:
                lon = np.lib.format.read_array(member)
            with archive.open("mask.npy") as member:
                version = np.lib.format.read_magic(member)
                header = np.lib.format.read_array_header_1_0(member)
                if version != (1, 0) or header != ((lat.size, lon.size), False, np.dtype(bool)):
                    return None
                changes, sea, start = [], True, 0
                while block := member.read(_BLOCK_BYTES):
                    pixels = np.frombuffer(block, dtype=bool)
                    changes.append(np.flatnonzero(np.diff(pixels, prepend=sea)) + start)
                    sea, start = bool(pixels[-1]), start + pixels.size
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return _Mask(lat, lon, np.concatenate(changes)) if start == lat.size * lon.size > 0 else None


def _positions(degrees: NDArray[np.float64], axis: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the row or column of each coordinate, computed exactly as in global-land-mask."""
    inside = np.clip(degrees, axis.min(), axis.max())
    positions: NDArray[np.int64] = ((inside - axis[0]) / (axis[1] - axis[0])).astype(np.int64)
    return positions
