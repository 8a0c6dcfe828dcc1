"""Which points are land."""

from typing import cast

import numpy as np
from numpy.typing import NDArray


def is_land(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each point, (n,) degrees, is land by the one-kilometre GLOBE mask; lakes and ice are land.

    The mask takes four seconds and 0.9 GB to open, so only building and training ask this.
    """
    from global_land_mask import globe

    east = np.nextafter(180.0, 0.0)  # the mask has no column for 180 itself
    return cast("NDArray[np.bool_]", globe.is_land(lat, np.clip(lon, -180.0, east)))
