"""The hexagonal lattices that H3 lays on the faces of its icosahedron: from a point to its cell by arithmetic.

A cell is a hexagon of a lattice on the plane that touches the sphere at a face's centre, projected from the sphere's
middle (the gnomonic projection). So the cell of a point is a function of the face it is nearest to and of the lattice
point it is nearest to there: what is not arithmetic fits in a table.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..geo import grid, sphere

# At odd resolutions the lattice is turned by the angle between (2, 1) and the axes of a hexagonal lattice: that is what
# gives every cell seven children.
_TURN_RAD = math.asin(math.sqrt(3 / 28))
_STEPS_TO_VERTEX = 2  # from the middle of a face, at resolution 0
_TOWARDS = 1e-3  # of the way to its middle: how far inside a hexagon a sample is taken
_POINTS_AT_ONCE = 1 << 20

LEAST_SPACING_KM = 1300.0
"""No two cells of resolution 0 have centres nearer to each other; at each finer one it is sqrt(7) times less.

Neighbours lie one step apart on the plane. Gnomonic projection shrinks a step the most at a corner of a face, along the
way to its middle, to the square of the cosine of the angle between the two (37.4 degrees): to 1,537 km from 2,434 km.
"""


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of H3's icosahedron, each with the lattice of every second resolution.

    Attributes
    ----------
    centre : (20, 3) float64
        Unit vectors.
    corners : (20, 3, 3) float64
        Unit vectors, counter-clockwise seen from outside.
    a, b : (2, 20, 3) float64
        For even and odd resolutions: the lattice coordinates of a unit vector p of face f, at resolution r, are
        ``sqrt(7)**r * (p @ a[r % 2, f]) / (p @ centre[f])``, and so with b; axes 60 degrees apart.
    """

    centre: NDArray[np.float64]
    corners: NDArray[np.float64]
    a: NDArray[np.float64]
    b: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lattice:
    """Lattice points of one resolution whose hexagons touch their face, ordered by face, a and b.

    Attributes
    ----------
    face, a, b : (n,) int64
    cell : (n,) uint64
        The cell that a point of the face belongs to where this is the lattice point nearest to it.
    """

    face: NDArray[np.int64]
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    cell: grid.Cells


@lru_cache(maxsize=1)
def faces() -> Faces:
    """Return the faces: triples of neighbouring vertices, which are the middles of the pentagons of resolution 0."""
    bases = grid.cells_at(0)
    _, _, start = grid.cell_boundaries(bases)
    vertices = sphere.unit_vectors(*grid.cell_centers(bases[np.diff(start) == 5]))
    adjacent = vertices @ vertices.T > 0  # cosines are 1, 1 / sqrt(5), -1 / sqrt(5) and -1
    triples = [t for t in combinations(range(12), 3) if all(adjacent[i, j] for i, j in combinations(t, 2))]
    corners = vertices[np.array(triples)]
    clockwise = np.linalg.det(corners) < 0
    corners[clockwise] = corners[clockwise][:, ::-1]
    centre = corners.mean(axis=1)
    centre /= np.linalg.norm(centre, axis=1, keepdims=True)
    to_vertex = corners[:, 0] / np.sum(corners[:, 0] * centre, axis=1, keepdims=True) - centre
    step = to_vertex / _STEPS_TO_VERTEX
    a, b = [], []
    for turn in (0.0, _TURN_RAD):
        first, second = _turned(step, centre, turn), _turned(step, centre, turn + math.pi / 3)
        # The dual basis: a @ first = b @ second = 1, a @ second = b @ first = 0, both on the plane.
        length = np.sum(step**2, axis=1, keepdims=True) * 3 / 4
        a.append((first - second / 2) / length)
        b.append((second - first / 2) / length)
    return Faces(centre, corners, np.stack(a), np.stack(b))


def nearest_point(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lattice point nearest to each point of a plane, given by its lattice coordinates.

    Notes
    -----
    Of a, b and c = -a - b the one that is farthest from a whole number is replaced by minus the sum of the others.
    """
    c = -a - b
    near = np.rint([a, b, c])
    off = np.abs(near - [a, b, c])
    near[0] = np.where((off[0] > off[1]) & (off[0] > off[2]), -near[1] - near[2], near[0])
    near[1] = np.where((off[1] >= off[0]) & (off[1] > off[2]), -near[0] - near[2], near[1])
    return near[0].astype(np.int64), near[1].astype(np.int64)


def lattice_parts(res: int) -> Iterator[Lattice]:
    """Yield the lattice of a resolution with the cell of each of its points, so much at a time as fits in memory.

    Parameters
    ----------
    res : int
        H3 resolution.
    """
    shape, scale = faces(), math.sqrt(7) ** res
    for face in range(shape.centre.shape[0]):
        dual = np.stack([shape.a[res % 2, face], shape.b[res % 2, face]])
        corners = scale * (shape.corners[face] @ dual.T) / (shape.corners[face] @ shape.centre[face])[:, None]
        (west, south), (east, north) = np.floor(corners.min(axis=0)) - 1, np.ceil(corners.max(axis=0)) + 1
        columns, rows = np.arange(west, east + 1), np.arange(south, north + 1)
        steps = np.linalg.pinv(dual)  # one along each axis, at resolution 0 or as it would be there if turned
        for some in np.array_split(columns, -(-columns.size * rows.size // _POINTS_AT_ONCE)):
            a, b = (axis.ravel() for axis in np.meshgrid(some, rows, indexing="ij"))
            sample = _towards(corners, np.stack([a, b], axis=1))
            near = nearest_point(*sample.T)
            touches = (near[0] == a) & (near[1] == b)
            x, y, z = (shape.centre[face] + sample[touches] @ steps.T / scale).T
            lon, lat = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
            yield Lattice(
                np.full(x.size, face), near[0][touches], near[1][touches], grid.cells_of_points(lon, lat, res)
            )


def _turned(vectors: NDArray[np.float64], axes: NDArray[np.float64], angle_rad: float) -> NDArray[np.float64]:
    """Return vectors, each perpendicular to its axis, turned about it, counter-clockwise."""
    return math.cos(angle_rad) * vectors + math.sin(angle_rad) * np.cross(axes, vectors)


def _towards(corners: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each lattice point, the point of a triangle nearest to it, or a little nearer to it than that.

    ``corners`` is (3, 2) and ``points`` (n, 2), both lattice coordinates. Where a hexagon touches the triangle in a
    mere edge or corner, the sample is so inside the hexagon, just across the edge: lattices of neighbouring faces meet
    there.
    """
    plane = np.array([[1.0, 0.0], [0.5, math.sqrt(3) / 2]])  # lengths and angles are those of the plane only there
    corners, points = corners @ plane, points @ plane
    nearest, best = points.copy(), np.full(points.shape[0], np.inf)
    inside = np.ones(points.shape[0], dtype=bool)
    for start, stop in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge, offset = stop - start, points - start
        inside &= edge[0] * offset[:, 1] - edge[1] * offset[:, 0] >= 0
        along = start + np.clip(offset @ edge / (edge @ edge), 0, 1)[:, None] * edge
        away = np.linalg.norm(points - along, axis=1)
        nearer = away < best
        nearest[nearer], best[nearer] = along[nearer], away[nearer]
    sample = np.where(inside[:, None], points, nearest + _TOWARDS * (points - nearest))
    return sample @ np.linalg.inv(plane)
