"""Interpolation of a smooth function in a square by polynomials of two variables."""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor


class Padua(NamedTuple):
    """The Padua points of a degree, and the matrix that maps values at the points to a polynomial.

    Attributes
    ----------
    degree : int
        d, at least 1: the total degree of the polynomials.
    x, y : (m,) float64
        The m = (d + 1)(d + 2) / 2 points, in [-1, 1].
    fit : (m, m) float64
        Maps values at the points to the coefficients of the interpolating polynomial, in the order of
        :func:`products`.

    Notes
    -----
    Caliari, De Marchi and Vianello 2008, J. Comput. Appl. Math. 221, 284: the points are every
    other point of a Chebyshev-Lobatto grid, and the coefficients are weighted sums over them.
    """

    degree: int
    x: Tensor
    y: Tensor
    fit: Tensor

    @classmethod
    def of(cls, degree: int) -> Self:
        """Return the points of a degree."""
        j, k = torch.meshgrid(torch.arange(degree + 1), torch.arange(degree + 2), indexing="ij")
        selected = (j + k) % 2 == 0
        j, k = j[selected].double(), k[selected].double()
        edges = ((j == 0) | (j == degree)).int() + ((k == 0) | (k == degree + 1)).int()
        weight = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)[edges] / (degree * (degree + 1))
        x, y = torch.cos(j * (math.pi / degree)), torch.cos(k * (math.pi / (degree + 1)))
        fit = products(x, y, degree) * weight
        scale = torch.full((degree + 1,), 2.0, dtype=torch.float64)
        scale[0] = 1.0
        fit *= torch.cat([scale[i] * scale[: degree + 1 - i] for i in range(degree + 1)])[:, None]
        fit[-1] /= 2
        return cls(degree, x, y, fit)

    def to(self, device: torch.device) -> Self:
        """Return a copy on a device."""
        return type(self)(self.degree, self.x.to(device), self.y.to(device), self.fit.to(device))


def products(x: Tensor, y: Tensor, degree: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the products of Chebyshev polynomials of two variables, of total degree up to ``degree``.

    Parameters
    ----------
    x, y : (n,) float64
        In [-1, 1].
    degree : int
        d, at least 1.
    dtype : torch.dtype
        Type of the result.

    Returns
    -------
    (m, n) dtype
        T_i(x) T_j(y) for i = 0 .. d and j = 0 .. d - i, with j the faster index; m = (d + 1)(d + 2) / 2.
    """
    of_x, of_y = (_chebyshev(values, degree).to(dtype) for values in (x, y))
    out = torch.empty(((degree + 1) * (degree + 2) // 2, x.shape[0]), dtype=dtype, device=x.device)
    start = 0
    for i in range(degree + 1):
        stop = start + degree + 1 - i
        torch.mul(of_x[i], of_y[: stop - start], out=out[start:stop])
        start = stop
    return out


def _chebyshev(x: Tensor, degree: int) -> Tensor:
    """Return T_0 .. T_degree at each point, (degree + 1, n), by their recurrence."""
    out = torch.empty((degree + 1, x.shape[0]), dtype=x.dtype, device=x.device)
    out[0], out[1] = 1.0, x
    for i in range(2, degree + 1):
        torch.addcmul(-out[i - 2], x, out[i - 1], value=2.0, out=out[i])
    return out
