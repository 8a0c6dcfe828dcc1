"""Coastlines and borders of the world from Natural Earth, included in the package."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Level = Literal["fine", "coarse"]

_FILE = Path(__file__).with_name("coastlines.npz")  # benchmarks/make_outlines.py makes it


class Outlines(NamedTuple):
    """Lines in degrees that end at the antimeridian; none crosses it.

    Attributes
    ----------
    lon, lat : (p,) float32
        Degrees; lon in [-180, 180].
    start : (n + 1,) int64
        The points of line i are ``start[i] .. start[i + 1] - 1``, at least two.
    is_border : (n,) bool
        Whether the line is a border between countries, de facto as in Natural Earth; else it is a coast.
    """

    lon: NDArray[np.float32]
    lat: NDArray[np.float32]
    start: NDArray[np.int64]
    is_border: NDArray[np.bool_]

    def lines(self, *, border: bool) -> Iterator[NDArray[np.float32]]:
        """Yield the points of each border, or of each coast, (m, 2) lon and lat."""
        points = np.column_stack([self.lon, self.lat])
        for i in np.flatnonzero(self.is_border == border):
            yield points[self.start[i] : self.start[i + 1]]


@lru_cache(maxsize=2)
def load_outlines(level: Level = "fine") -> Outlines:
    """Return the coastlines and borders of the world.

    Parameters
    ----------
    level : {"fine", "coarse"}
        At a scale of 1 : 50 million, or of 1 : 110 million with a tenth of the points, for maps of the world.
    """
    with np.load(_FILE) as file:
        size, begin, points = file[f"{level}_size"], file[f"{level}_begin"], file[f"{level}_step"].astype(np.int64)
        start = np.concatenate([[0], np.cumsum(size, dtype=np.int64)])
        points = np.cumsum(points, axis=1)
        points += np.repeat(begin - points[:, start[:-1]], size, axis=1)
        lon, lat = (points / file[f"{level}_units_per_degree"]).astype(np.float32)
        loaded = Outlines(lon, lat, start, file[f"{level}_is_border"])
    for values in loaded:
        values.setflags(write=False)
    return loaded
