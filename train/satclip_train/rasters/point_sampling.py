"""Random training and validation points, drawn anew at every step."""

from dataclasses import dataclass, field

import numpy as np

from satclip_index.geo.land_mask import is_land

from ..blocks import FloatVector, is_held_out
from .raster import Raster


def uniform_points(count: int, rng: np.random.Generator) -> tuple[FloatVector, FloatVector]:
    """Return points drawn uniformly on the sphere.

    Parameters
    ----------
    count : int
        Number of points.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    lon, lat : (count,) float64
        Degrees.
    """
    lon = rng.uniform(-180.0, 180.0, count)
    return lon, np.rad2deg(np.arcsin(rng.uniform(-1.0, 1.0, count)))


@dataclass(frozen=True, slots=True)
class PointSampler:
    """Draws training points: mostly uniform on land, some anywhere, and some on lit land.

    Parameters
    ----------
    sea_share : float
        Share of points that are drawn anywhere, the sea included.
    lit_share : float
        Share of points drawn on land in proportion to its lights at night, because people query places where people
        live.
    lights : Raster, optional
        One plane of lights; required if ``lit_share`` is above 0.
    block_degrees, holdout_share, holdout_seed : float, float, int
        The validation blocks; see :func:`satclip_train.blocks.is_held_out`.
    """

    sea_share: float = 0.1
    lit_share: float = 0.0
    lights: Raster | None = None
    block_degrees: float = 6.0
    holdout_share: float = 0.0
    holdout_seed: int = 0
    _cumulative_light: FloatVector = field(init=False, repr=False, default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        assert self.lit_share == 0 or self.lights is not None, "lit_share needs lights"
        if self.lights is not None and self.lit_share > 0:
            height = self.lights.values.shape[0]
            area = np.cos(np.deg2rad(90 - (np.arange(height) + 0.5) * 180 / height))
            weight = self.lights.values[..., 0].astype(np.float64) * area[:, None]
            object.__setattr__(self, "_cumulative_light", np.cumsum(weight.ravel()))

    def draw(
        self, count: int, rng: np.random.Generator, *, held_out: bool = False, land_only: bool = False
    ) -> tuple[FloatVector, FloatVector]:
        """Return ``count`` new points.

        Parameters
        ----------
        count : int
            Number of points.
        rng : numpy.random.Generator
            Source of randomness.
        held_out : bool
            Draw from the validation blocks, rather than from all others.
        land_only : bool
            Draw uniformly on land, whatever ``sea_share`` and ``lit_share`` are.

        Returns
        -------
        lon, lat : (count,) float64
            Degrees, in random order.
        """
        sea = 0 if land_only else round(count * self.sea_share)
        lit = 0 if land_only else round(count * self.lit_share)
        parts = [
            self._draw_kind(count - sea - lit, rng, "land", held_out),
            self._draw_kind(sea, rng, "anywhere", held_out),
            self._draw_kind(lit, rng, "lit", held_out),
        ]
        order = rng.permutation(count)
        lon, lat = (np.concatenate(axis)[order] for axis in zip(*parts, strict=True))
        return lon, lat

    def _draw_kind(
        self, count: int, rng: np.random.Generator, kind: str, held_out: bool
    ) -> tuple[FloatVector, FloatVector]:
        """Return ``count`` points of a kind, by rejection sampling."""
        lons, lats, accepted = [np.empty(0)], [np.empty(0)], 0
        while accepted < count:
            lon, lat = (self._lit_points if kind == "lit" else uniform_points)(4 * (count - accepted) + 64, rng)
            keep = is_land(lon, lat) if kind != "anywhere" else np.ones(lon.size, dtype=np.bool_)
            if self.holdout_share > 0:
                keep &= held_out == is_held_out(
                    lon, lat, degrees=self.block_degrees, share=self.holdout_share, seed=self.holdout_seed
                )
            lons.append(lon[keep])
            lats.append(lat[keep])
            accepted += lons[-1].size
        return np.concatenate(lons)[:count], np.concatenate(lats)[:count]

    def _lit_points(self, count: int, rng: np.random.Generator) -> tuple[FloatVector, FloatVector]:
        """Return points drawn in proportion to the light of the pixel they are in."""
        assert self.lights is not None
        height, width = self.lights.values.shape[:2]
        pixel = np.searchsorted(self._cumulative_light, rng.uniform(0, self._cumulative_light[-1], count), side="right")
        row, column = np.divmod(np.minimum(pixel, height * width - 1), width)
        lon = (column + rng.uniform(size=count)) * 360 / width - 180
        return lon, 90 - (row + rng.uniform(size=count)) * 180 / height
