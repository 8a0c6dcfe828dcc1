"""Global equirectangular rasters, and local patches of constant ground size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from satclip_index.errors import DataError
from satclip_index.geo.sphere import EARTH_RADIUS_KM


@dataclass(frozen=True, slots=True)
class Raster:
    """Planes that cover the Earth on one equirectangular grid.

    Parameters
    ----------
    values : (height, width, planes) uint8
        Column 0 begins at lon -180 and row 0 at lat 90; values are at the centers of their pixels.
    """

    values: NDArray[np.uint8]

    @property
    def pixel_km(self) -> float:
        """Height of a pixel on the ground, in km."""
        return math.pi * EARTH_RADIUS_KM / len(self.values)

    def sample(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float32]:
        """Return the value of each plane at each point, by bilinear interpolation.

        Parameters
        ----------
        lon, lat : (...) float
            Degrees, of one shape; any longitude, latitude in [-90, 90].

        Returns
        -------
        (..., planes) float32
            In [0, 255]. The grid wraps at the antimeridian; beyond the first and the last row, the nearest row is used.
        """
        height, width, planes = self.values.shape
        lon, lat = np.asarray(lon, dtype=np.float32), np.asarray(lat, dtype=np.float32)
        column = (lon + np.float32(180)) * np.float32(width / 360) - np.float32(0.5)
        row = np.clip((90 - lat) * np.float32(height / 180) - np.float32(0.5), 0, height - 1)
        left, top = np.floor(column), np.floor(row)
        east, south = (column - left)[..., None], (row - top)[..., None]
        first, above = left.astype(np.intp) % width, top.astype(np.intp)
        second = np.where(first + 1 == width, 0, first + 1)
        above_at, below_at = above * width, np.minimum(above + 1, height - 1) * width
        flat = self.values.reshape(height * width, planes)

        def corner(position: NDArray[np.intp]) -> NDArray[np.float32]:
            return flat.take(position, axis=0).astype(np.float32)

        upper = corner(above_at + first)
        upper += east * (corner(above_at + second) - upper)
        lower = corner(below_at + first)
        lower += east * (corner(below_at + second) - lower)
        upper += south * (lower - upper)
        return upper

    def patches(self, lon: ArrayLike, lat: ArrayLike, *, size_km: float, pixels: int) -> NDArray[np.float32]:
        """Return a square patch of ground around each point.

        Parameters
        ----------
        lon, lat : (n,) float
            Degrees: the centers.
        size_km : float
            Edge of a patch on the ground, the same at every latitude.
        pixels : int
            Samples along an edge.

        Returns
        -------
        (n, pixels, pixels, planes) float32
            In [0, 255]; row 0 is the northern edge and column 0 the western one.
        """
        return self.sample(*patch_grid(lon, lat, size_km=size_km, pixels=pixels))

    def reduced(self, factor: int) -> Self:
        """Return the raster with pixels ``factor`` times as wide and as high, each the mean of the pixels it covers."""
        height, width, planes = self.values.shape
        size = (max(1, width // factor), max(1, height // factor))
        smaller = [
            np.asarray(Image.fromarray(self.values[..., plane]).resize(size, Image.Resampling.BOX))
            for plane in range(planes)
        ]
        return type(self)(np.ascontiguousarray(np.stack(smaller, axis=-1)))


@dataclass(frozen=True, slots=True)
class Pyramid:
    """A raster at several resolutions, so that coarse patches are averages rather than single pixels."""

    levels: tuple[Raster, ...]

    @classmethod
    def build(cls, raster: Raster, factors: Sequence[int] = (2, 4, 8, 16)) -> Self:
        """Return the pyramid of ``raster``: the raster itself, then reduced by each of ``factors``."""
        return cls((raster, *(raster.reduced(factor) for factor in factors)))

    def patches(self, lon: ArrayLike, lat: ArrayLike, *, size_km: float, pixels: int) -> NDArray[np.float32]:
        """Return patches as :meth:`Raster.patches` does, from the coarsest level with fine enough pixels."""
        step_km = size_km / pixels
        fitting = [level for level in self.levels if level.pixel_km <= step_km * 1.05]
        return (fitting or self.levels[:1])[-1].patches(lon, lat, size_km=size_km, pixels=pixels)


def patch_grid(
    lon: ArrayLike, lat: ArrayLike, *, size_km: float, pixels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the sample points of a square of ground around each center.

    Parameters
    ----------
    lon, lat : (n,) float
        Degrees: the centers.
    size_km : float
        Edge of the square.
    pixels : int
        Samples along an edge, at the centers of ``pixels`` equal intervals.

    Returns
    -------
    lon, lat : (n, pixels, pixels) float32
        Degrees; lon in [-180, 180]. Row 0 is northernmost and column 0 westernmost, as seen from the center.

    Notes
    -----
    The square is in the plane tangent to the sphere at its center, and is projected onto the sphere from the center of
    the Earth (gnomonic projection). Unlike the approximation x / (R cos lat) for a step of x km to the east, the
    projection is well defined at the poles. At 500 km, an edge on the ground is 0.05 % short.
    """
    phi = np.deg2rad(np.atleast_1d(np.asarray(lat, dtype=np.float64))).astype(np.float32)[:, None, None]
    lon = np.atleast_1d(np.asarray(lon, dtype=np.float64))[:, None, None]
    offset = ((np.arange(pixels) + 0.5) / pixels - 0.5) * size_km / EARTH_RADIUS_KM
    east, north = (side.astype(np.float32) for side in np.meshgrid(offset, -offset))
    sin_phi, cos_phi = np.sin(phi), np.cos(phi)
    outward = cos_phi - north * sin_phi  # away from the axis, along the meridian of the center
    upward = sin_phi + north * cos_phi
    turned = np.rad2deg(np.arctan2(east, outward))
    grid_lon = (lon + turned + 180.0) % 360.0 - 180.0
    grid_lat = np.rad2deg(np.arctan2(upward, np.hypot(east, outward)))
    return grid_lon.astype(np.float32), grid_lat


def read_image(path: Path, *, mode: str, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return a global image as an array.

    Parameters
    ----------
    path : Path
        Any format that Pillow reads; twice as wide as high.
    mode : {"L", "RGB"}
        Gray or color.
    size : (width, height), optional
        The image is resampled to this size.

    Returns
    -------
    (height, width) or (height, width, 3) uint8

    Raises
    ------
    DataError
        If the file is missing, is not an image, or cannot be an equirectangular map of the Earth.
    """
    if not path.is_file():
        raise DataError(
            f"No raster at {path}. It is one of NASA's global mosaics (Blue Marble Next Generation, its topography, or "
            "Black Marble), equirectangular. Download it from https://visibleearth.nasa.gov, or correct the path in "
            "the configuration."
        )
    try:
        with Image.open(path) as image:
            if image.width != 2 * image.height:
                raise DataError(
                    f"{path} is {image.width} x {image.height}; expected an equirectangular map, twice as wide as high."
                )
            picture = image.convert(mode)
            if size is not None and picture.size != size:
                picture = picture.resize(size, Image.Resampling.BICUBIC)
            return np.asarray(picture)
    except DataError:
        raise
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a readable image ({error}).") from None
