"""Input of the vision tower: two seasons, relief and lights on one grid, with seasons in local order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .raster import Pyramid, Raster, read_image

PLANES = ("december r", "december g", "december b", "july r", "july g", "july b", "elevation", "lights")
LOCAL_PLANES = ("summer r", "summer g", "summer b", "winter r", "winter g", "winter b", "elevation", "lights")
SEA_LEVEL_GRAY = 25.0
"""Gray value of the sea, above which land starts, in NASA's topography raster (measured: its mode)."""
SEASON_BLEND_DEGREES = 8.0
"""Latitude range, on either side of the equator, in which the seasons are blended."""


@dataclass(frozen=True, slots=True)
class Imagery:
    """The planes of :data:`PLANES` at several sizes.

    Parameters
    ----------
    pyramid : Pyramid
        Eight uint8 planes.
    """

    pyramid: Pyramid

    @classmethod
    def read(cls, *, december: Path, july: Path, elevation: Path, night_lights: Path) -> Self:
        """Return the imagery from four global rasters, on the grid of the December mosaic.

        Raises
        ------
        DataError
            If a raster is missing or unreadable.
        """
        winter = read_image(december, mode="RGB")
        size = (winter.shape[1], winter.shape[0])
        planes = [
            winter,
            read_image(july, mode="RGB", size=size),
            read_image(elevation, mode="L", size=size)[..., None],
            extract_lights(read_image(night_lights, mode="RGB", size=size))[..., None],
        ]
        return cls(Pyramid.build(Raster(np.concatenate(planes, axis=-1))))

    @property
    def lights(self) -> Raster:
        """The plane of lights, at half size."""
        return Raster(np.ascontiguousarray(self.pyramid.levels[1].values[..., 7:8]))

    def patches(
        self, lon: NDArray[np.float64], lat: NDArray[np.float64], *, size_km: float, pixels: int
    ) -> NDArray[np.float32]:
        """Return a patch around each point, with summer and winter in local order.

        Parameters
        ----------
        lon, lat : (n,) float64
            Degrees.
        size_km, pixels : float, int
            Edge of a patch, on the ground and in samples.

        Returns
        -------
        (n, pixels, pixels, 8) float32
            The planes of :data:`LOCAL_PLANES`, in [0, 1]. Elevation is 0 at sea level.

        Notes
        -----
        July is summer in the north and winter in the south. Seasons are in local order so that, for example, the Pampas
        can be similar to the Prairies. Near the equator the two are blended, so that features are continuous.
        """
        patch = self.pyramid.patches(lon, lat, size_km=size_km, pixels=pixels)
        patch *= np.float32(1 / 255)
        july = np.clip(0.5 + np.asarray(lat) / (2 * SEASON_BLEND_DEGREES), 0, 1).astype(np.float32)[:, None, None, None]
        difference = patch[..., 3:6] - patch[..., 0:3]
        difference *= july
        summer = patch[..., 0:3] + difference
        patch[..., 3:6] -= difference
        patch[..., 0:3] = summer
        sea = np.float32(SEA_LEVEL_GRAY / 255)
        patch[..., 6] = np.maximum(patch[..., 6] - sea, 0) / (1 - sea)
        return patch


def extract_lights(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the lights in a night mosaic, without the dimmed, bluish ground.

    Parameters
    ----------
    image : (height, width, 3) uint8
        NASA's Black Marble.

    Returns
    -------
    (height, width) uint8
        Logarithmic, from 0 where there is no light to 255 at the brightest.

    Notes
    -----
    Unlit ground is blue (Sahara 5, 45, 70; Greenland 11, 59, 81), and lights are not (Chicago 96, 95, 91). The red of
    unlit ground is at most a fifth of the green, plus two gray values of JPEG noise.
    """
    red, green = image[..., 0].astype(np.float32), image[..., 1].astype(np.float32)
    light = np.maximum(red - 0.2 * green - 2.0, 0.0)
    out: NDArray[np.uint8] = np.round(255 * np.log1p(light / 3) / np.log1p(150 / 3)).clip(0, 255).astype(np.uint8)
    return out
