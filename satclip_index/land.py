"""Which points are land."""

from typing import cast

import numpy as np
from numpy.typing import NDArray


def is_land(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each point is land, by the one-kilometre GLOBE mask; lakes count as land.

    The mask takes four seconds and 0.9 GB to open, so only building and training ask this.
    """
    from global_land_mask import globe

    return cast("NDArray[np.bool_]", globe.is_land(lat, lon))
