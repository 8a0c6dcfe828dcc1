"""Fast encoding of many cells of one resolution: the smooth first layer is interpolated within tiles of cells."""

import copy
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geo import grid, sphere
from ._padua import Padua, products
from .devices import open_device
from .location_encoder import Encoder
from .spherical_harmonics import real_harmonics

MOST_ERROR = 1e-6  # bound relative to the largest phase of the first layer; actual errors are a tenth of it or less
_REACH = (
    1.1  # times the distance to the corners of a cell: descendants extend beyond it by 3.1 % after five resolutions
)
_FINEST_TILES = 3
_HARMONIC, _TILE = 10, 15_000  # cost of harmonics per L and of a tile, in multiplications of the first layer
_WORTH_IT = 0.75  # a plan must cost less than this share of direct encoding
_ROWS = {"cpu": 8192, "cuda": 65_536}  # minimum size of a piece of work
_BATCH = {"cpu": 1024, "cuda": 65_536}  # fixed, since batch bounds affect the last bits of sums

MapSlices = Callable[[Callable[[slice], None], list[slice]], Iterable[None]]
"""Calls a function for each slice: ``map``, or the ``map`` of a thread pool."""


class CellEncoder:
    """Encodes many neighboring cells, several times as fast as :meth:`Encoder.encode` at a high L.

    Parameters
    ----------
    encoder : Encoder
    device : str
        As for :meth:`Encoder.encode`.

    Notes
    -----
    The argument of the first sine is a sum of spherical harmonics of degrees below L. Along a great circle that is a
    trigonometric polynomial of degree L - 1, whose n-th derivative is at most (L - 1)^n times its maximum (Bernstein's
    inequality). So in a square of half-width r of a tangent plane a polynomial of total degree d comes within about
    2 ((L - 1) r / sqrt 2)^(d + 1) / (d + 1)! of it, relative to that maximum. It is interpolated at the Padua points of
    the square, whose Lebesgue constant grows like log(d)^2 only (Caliari, De Marchi and Vianello 2005, Appl. Math.
    Comput. 165, 261). The rest of the network is evaluated at every cell.
    """

    def __init__(self, encoder: Encoder, *, device: str = "cpu") -> None:
        self._encoder, self._device = encoder, open_device(device)
        self._network = copy.deepcopy(encoder.network).to(self._device, torch.float32)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self._device.type == "cuda"

    def encode(
        self, cells: grid.Cells, lon: NDArray[np.float64], lat: NDArray[np.float64], *, each: MapSlices = map
    ) -> NDArray[np.float32]:
        """Return the raw embedding of each cell's center.

        Parameters
        ----------
        cells : (n,) uint64
            Of one resolution, ascending; n at least 1.
        lon, lat : (n,) float64
            Centers of the cells, in degrees.
        each : function
            Runs pieces of the work, in parallel or not; the result is the same to the last bit.

        Returns
        -------
        (n, dim) float32
            The result of :meth:`Encoder.encode`, within its own precision.
        """
        out = np.empty((cells.size, self._encoder.dim), np.float32)
        plan = Plan.of(self._encoder.hyperparameters.legendre_polys, int(grid.cell_res(cells[:1])[0]))
        starts = _tile_starts(plan, cells)
        at, batch = torch.from_numpy(np.stack([lon, lat])).to(self._device), _BATCH[self._device.type]

        def encode_piece(piece: slice) -> None:
            tiles = starts[np.searchsorted(starts, piece.start) : np.searchsorted(starts, piece.stop)]
            with torch.inference_mode():
                phase = self._phase(plan, cells[piece], at[:, piece], tiles - piece.start)
                for start in range(0, len(phase), batch):
                    raw = self._network.after_first(phase[start : start + batch])
                    first = piece.start + start
                    out[first : first + len(raw)] = raw.cpu().numpy()

        for _ in each(encode_piece, _pieces(starts, cells.size, _ROWS[self._device.type])):
            pass
        return out

    def _phase(self, plan: "Plan | None", cells: grid.Cells, at: Tensor, starts: NDArray[np.int64]) -> Tensor:
        """Return the arguments of the first sine, (n, capacity) float32, at points of several tiles, (2, n) degrees."""
        if plan is None:
            return self._phase_at(at)
        padua, bounds = plan.padua.to(self._device), np.append(starts, cells.size)
        squares = _Squares.around(grid.ancestors(cells[starts], plan.tile_res), self._device)
        nodes = self._phase_at(squares.points(padua.x, padua.y)).reshape(starts.size, padua.x.shape[0], -1)
        coefficients = (padua.fit @ nodes.double()).to(torch.float32)
        x, y = squares.positions(at, torch.from_numpy(np.diff(bounds)))
        basis = products(x, y, padua.degree, torch.float32)
        phase = torch.empty((cells.size, coefficients.shape[2]), device=self._device)
        for own, (first, last) in zip(coefficients, pairwise(bounds.tolist()), strict=True):
            torch.mm(basis[:, first:last].T, own, out=phase[first:last])
        return phase

    def _phase_at(self, at: Tensor) -> Tensor:
        """Return the arguments of the first sine from the harmonics of each point."""
        p = self._encoder.hyperparameters
        lon, lat = at
        harmonics = real_harmonics(lon, lat, p.legendre_polys, p.harmonics_calculation, dtype=torch.float32)
        phase: Tensor = self._network.w0_first * self._network.layers[0](harmonics.T)
        return phase


class Plan(NamedTuple):
    """How the cells of a resolution are encoded.

    ``tile_res`` is the resolution of the ancestors that are tiles; ``padua`` has the interpolation points of a tile.
    """

    tile_res: int
    padua: Padua

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, legendre_polys: int, res: int) -> Self | None:
        """Return the fastest plan, or None if encoding each cell directly is faster."""
        point_cost = legendre_polys**2 + _HARMONIC * legendre_polys
        best = _WORTH_IT * point_cost
        plan = None
        for tile_res in range(min(_FINEST_TILES, res - 2) + 1):
            cells = 7 ** (res - tile_res)
            degree = _degree(legendre_polys, _half_width(grid.cells_at(tile_res)).max())
            points = (degree + 1) * (degree + 2) // 2
            cost = (
                2 * points + (points * point_cost + _TILE) / cells
            )  # each product is computed, and multiplied by a coefficient
            if cost < best:
                best, plan = cost, cls(tile_res, Padua.of(degree))
        return plan


class _Squares(NamedTuple):
    """Squares on the tangent planes at the centers of tiles; each contains the descendants of its tile.

    ``frames`` is (t, 3, 3) float64: unit vectors to the east, to the north and up. ``half_width`` is (t,), in Earth
    radii.
    """

    frames: Tensor
    half_width: Tensor

    @classmethod
    def around(cls, tiles: grid.Cells, device: torch.device) -> Self:
        lon, lat = grid.cell_centers(tiles)
        up, turn = sphere.unit_vectors(lon, lat), np.radians(lon)
        east = np.stack([-np.sin(turn), np.cos(turn), np.zeros(tiles.size)], axis=1)
        frames = np.stack([east, np.cross(up, east), up], axis=1)
        return cls(torch.from_numpy(frames).to(device), torch.from_numpy(_half_width(tiles)).to(device))

    def points(self, x: Tensor, y: Tensor) -> Tensor:
        """Return lon and lat, (2, t * m) degrees, of points in [-1, 1] x [-1, 1] of each square."""
        x, y = x * self.half_width[:, None], y * self.half_width[:, None]
        vectors = torch.stack([x, y, torch.sqrt(1 - x**2 - y**2)], dim=2) @ self.frames
        east, north, up = vectors.reshape(-1, 3).T
        return torch.rad2deg(torch.stack([torch.atan2(north, east), torch.atan2(up, torch.hypot(east, north))]))

    def positions(self, at: Tensor, count: Tensor) -> Tensor:
        """Return x and y, (2, n) in [-1, 1], of points, (2, n) degrees, ``count`` of them in each square."""
        lon, lat = torch.deg2rad(at)
        vectors = torch.stack([torch.cos(lat) * torch.cos(lon), torch.cos(lat) * torch.sin(lon), torch.sin(lat)])
        axes = self.frames[:, :2] / self.half_width[:, None, None]
        own = axes.repeat_interleave(count.to(at.device), dim=0)
        return torch.einsum("nij,jn->in", own, vectors)


def _half_width(cells: grid.Cells) -> NDArray[np.float64]:
    """Return the half-width of the square of each cell, (n,) in Earth radii."""
    lon, lat, start = grid.cell_boundaries(cells)
    centers = np.repeat(sphere.unit_vectors(*grid.cell_centers(cells)), np.diff(start), axis=0)
    corners = np.linalg.norm(sphere.unit_vectors(lon, lat) - centers, axis=1)
    return _REACH * np.maximum.reduceat(corners, start[:-1])


def _degree(legendre_polys: int, half_width: float) -> int:
    """Return the lowest polynomial degree that satisfies the error bound in a square, half-width in Earth radii."""
    bound, degree = 2.0, 0
    while degree == 0 or bound > MOST_ERROR:
        degree += 1
        bound = 2.0 * math.exp(
            (degree + 1) * math.log(max(legendre_polys - 1, 1e-9) * half_width / math.sqrt(2)) - math.lgamma(degree + 2)
        )
    return degree


def _tile_starts(plan: Plan | None, cells: grid.Cells) -> NDArray[np.int64]:
    """Return the first row of each tile, or of each batch without a plan."""
    if plan is None:
        return np.arange(0, cells.size, _BATCH["cpu"])
    tiles = grid.ancestors(cells, plan.tile_res)
    return np.append(0, np.flatnonzero(tiles[1:] != tiles[:-1]) + 1)


def _pieces(starts: NDArray[np.int64], size: int, least: int) -> list[slice]:
    """Return slices of whole tiles with at least ``least`` rows each, except the last."""
    ends = [0]
    for start in starts.tolist():
        if start - ends[-1] >= least:
            ends.append(start)
    return [slice(*pair) for pair in pairwise([*ends, size])]
