"""Exact real spherical harmonics, in the two conventions that SatCLIP checkpoints use."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Convention = Literal["analytic", "closed-form"]
CONVENTIONS: tuple[str, ...] = get_args(Convention)


def real_harmonics(
    lon: Tensor,
    lat: Tensor,
    legendre_polys: int,
    convention: Convention = "analytic",
    *,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return the real spherical harmonics of every degree below ``legendre_polys`` at each point.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees; any longitude, latitude in [-90, 90]. The result is on the same device.
    legendre_polys : int
        L, the number of degrees l = 0 .. L-1; at least 1.
    convention : {"analytic", "closed-form"}
        ``harmonics_calculation`` of a checkpoint. The two differ by signs and, at m = 0, by a factor of pi.
    dtype : torch.dtype
        Type of the result. Angles and recurrences are always float64, since float32 angles cause errors of 2e-3 near
        the poles.

    Returns
    -------
    (L * L, n) dtype
        Feature ``l * l + l + m`` of each point, for m = -l .. l. Points are the fast axis, so ``.T`` feeds a matrix
        product without a copy.

    Notes
    -----
    Fully normalized associated Legendre functions by the forward column recurrence of Holmes and Featherstone (2002,
    J. Geodesy 76, eq. 11-13): stable, without factorials, and defined at the poles. With
    Y = Y_l^|m|(colatitude 90 - lat, lon), Condon-Shortley phase included, and Re/Im for m >= 0 / m < 0:

    - analytic: (-1)^l pi Re Y at m = 0, else (-1)^(l+m) sqrt(2) Re/Im Y. The factor pi is an error in the released
      generator (microsoft/satclip, spherical_harmonics_ylm.py); the released weights were trained with it.
    - closed-form: (-1)^l Re Y at m = 0, else (-1)^l sqrt(2) Re/Im Y (spherical_harmonics_closed_form.py).
    """
    order = torch.arange(legendre_polys, dtype=torch.float64, device=lon.device)
    sin_lat, cos_lat = torch.sin(torch.deg2rad(lat.double())), torch.cos(torch.deg2rad(lat.double()))
    angle = order[:, None] * torch.deg2rad(lon.double())
    # The sign (-1)^m of a convention and the sqrt(2) of real harmonics are applied to the longitude factors.
    factor = torch.full_like(order, math.sqrt(2.0))
    if convention == "closed-form":
        factor[1::2] *= -1.0
    factor[0] = math.pi if convention == "analytic" else 1.0
    cosines, sines = torch.cos(angle) * factor[:, None], torch.sin(angle) * factor[:, None]

    features = torch.empty((legendre_polys**2, lon.shape[0]), dtype=dtype, device=lon.device)
    before = torch.zeros((legendre_polys, lon.shape[0]), dtype=torch.float64, device=lon.device)  # degree l - 2
    last = torch.zeros_like(before)  # degree l - 1
    current = torch.zeros_like(before)
    for degree in range(legendre_polys):
        if degree == 0:
            current[0] = math.sqrt(1.0 / (4.0 * math.pi))
        else:
            m = order[:degree, None]
            rise = torch.sqrt((4.0 * degree**2 - 1.0) / (degree**2 - m**2))
            fall = torch.sqrt(((degree - 1.0) ** 2 - m**2) / (4.0 * (degree - 1.0) ** 2 - 1.0))
            torch.addcmul(
                last[:degree] * (rise * sin_lat), rise * fall, before[:degree], value=-1, out=current[:degree]
            )
            torch.mul(last[degree - 1], cos_lat * math.sqrt((2.0 * degree + 1.0) / (2.0 * degree)), out=current[degree])
        center, sign = degree * degree + degree, (-1.0) ** degree
        signed = current[: degree + 1] * sign
        features[center : center + degree + 1] = signed * cosines[: degree + 1]
        features[center - degree : center] = (signed[1:] * sines[1 : degree + 1]).flip(0)
        before, last, current = last, current, before
    return features
