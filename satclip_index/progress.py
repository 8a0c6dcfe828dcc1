"""The functions that are handed in."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .geo.grid import Cells

Progress = Callable[[int, int], None]
"""Told how much is done, of how much."""

VectorsOf = Callable[[Cells], NDArray[np.float32]]
"""Of (n,) cells of one resolution, their stored vectors, (n, dim)."""
