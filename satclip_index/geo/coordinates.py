"""Validation of longitudes and latitudes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CoordinateError

LON_RANGE = (-180, 360)  # degrees; above 180 as in climate grids
LAT_RANGE = (-90, 90)


def check_coordinates(lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``lon, lat`` as float64 vectors, or raise an error that names the first row out of range.

    Parameters
    ----------
    lon : float or (n,) array
        Degrees in [-180, 360]; values above 180, as in climate grids, are wrapped.
    lat : float or (n,) array
        Degrees in [-90, 90].

    Returns
    -------
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180], lat in [-90, 90]. A scalar becomes a vector of one.

    Raises
    ------
    CoordinateError
        If a value is not a number, not finite or out of range, or the lengths differ.
    """
    try:
        lon, lat = (np.atleast_1d(np.asarray(values, dtype=np.float64)) for values in (lon, lat))
    except (TypeError, ValueError) as error:
        raise CoordinateError(f"Longitudes and latitudes must be numbers, in degrees: {error}.") from None
    if lon.ndim != 1 or lon.shape != lat.shape:
        raise CoordinateError(
            f"lon and lat must be vectors of the same length; got shapes {lon.shape} and {lat.shape}."
        )
    for values, name, low, high in ((lat, "latitudes", *LAT_RANGE), (lon, "longitudes", *LON_RANGE)):
        bad = np.flatnonzero(~_within(values, (low, high)))  # the negation also catches NaN
        if bad.size:
            raise CoordinateError(
                f"{bad.size} of {values.size} {name} are outside [{low}, {high}]; first is {values[bad[0]]:g} at row "
                f"{bad[0]}. Coordinates are (lon, lat) in degrees; are they swapped?"
            )
    return wrap_lon(lon), lat


def are_on_earth(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each point is one that :func:`check_coordinates` accepts; False where a value is NaN.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees, of any value.

    Returns
    -------
    (n,) bool
    """
    return _within(lon, LON_RANGE) & _within(lat, LAT_RANGE)


def wrap_lon(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return longitudes in [-180, 360] degrees as degrees in [-180, 180]."""
    return np.where(lon > 180, lon - 360, lon)


def _within(values: NDArray[np.float64], limits: tuple[int, int]) -> NDArray[np.bool_]:
    return (values >= limits[0]) & (values <= limits[1])
