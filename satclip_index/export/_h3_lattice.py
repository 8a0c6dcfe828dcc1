"""The hexagonal lattices of H3 on the faces of its icosahedron, to compute the cell of a point in plain SQL.

A cell is a hexagon of a lattice on the plane that is tangent to the sphere at the center of a face, in gnomonic
projection. So the cell of a point follows from its nearest face and from the nearest lattice point on that face: a
table maps lattice points to cells.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..geo import grid, sphere

# At odd resolutions the lattice is rotated by the angle between (2, 1) and the axes of a hexagonal lattice, which gives
# every cell seven children.
_TURN_RAD = math.asin(math.sqrt(3 / 28))
_STEPS_TO_VERTEX = 2  # from the center of a face, at resolution 0
_INSET = 1e-3  # share of the way to its center by which a sample is moved into a hexagon
_POINTS_AT_ONCE = 1 << 20

LEAST_SPACING_KM = 1300.0
"""A lower bound of the distance between the centers of two cells of resolution 0; divide by sqrt(7) per finer one.

Neighbors are one step apart on the plane. Gnomonic projection shrinks a step most at a corner of a face, toward its
center, by the square of the cosine of the angle between the two (37.4 degrees): from 2,434 km to 1,537 km.
"""


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of the icosahedron of H3, with the lattice axes of even and odd resolutions.

    Attributes
    ----------
    center : (20, 3) float64
        Unit vectors.
    corners : (20, 3, 3) float64
        Unit vectors, counterclockwise as seen from outside.
    a, b : (2, 20, 3) float64
        For even and odd resolutions: the lattice coordinates of a unit vector p of face f, at resolution r, are
        ``sqrt(7)**r * (p @ a[r % 2, f]) / (p @ center[f])``, and likewise with b; axes are 60 degrees apart.
    """

    center: NDArray[np.float64]
    corners: NDArray[np.float64]
    a: NDArray[np.float64]
    b: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lattice:
    """Lattice points of one resolution whose hexagons touch their face, sorted by face, a and b.

    Attributes
    ----------
    face, a, b : (n,) int64
    cell : (n,) uint64
        The cell of the points on this face that are nearest to this lattice point.
    """

    face: NDArray[np.int64]
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    cell: grid.Cells


@lru_cache(maxsize=1)
def faces() -> Faces:
    """Return the faces: triples of adjacent vertices, which are the centers of the pentagons of resolution 0."""
    bases = grid.cells_at(0)
    _, _, start = grid.cell_boundaries(bases)
    vertices = sphere.unit_vectors(*grid.cell_centers(bases[np.diff(start) == 5]))
    adjacent = vertices @ vertices.T > 0  # cosines are 1, 1 / sqrt(5), -1 / sqrt(5) and -1
    triples = [t for t in combinations(range(12), 3) if all(adjacent[i, j] for i, j in combinations(t, 2))]
    corners = vertices[np.array(triples)]
    clockwise = np.linalg.det(corners) < 0
    corners[clockwise] = corners[clockwise][:, ::-1]
    center = corners.mean(axis=1)
    center /= np.linalg.norm(center, axis=1, keepdims=True)
    to_vertex = corners[:, 0] / np.sum(corners[:, 0] * center, axis=1, keepdims=True) - center
    step = to_vertex / _STEPS_TO_VERTEX
    a, b = [], []
    for turn in (0.0, _TURN_RAD):
        first, second = _rotated(step, center, turn), _rotated(step, center, turn + math.pi / 3)
        # The dual basis on the plane: a @ first = b @ second = 1, a @ second = b @ first = 0.
        length = np.sum(step**2, axis=1, keepdims=True) * 3 / 4
        a.append((first - second / 2) / length)
        b.append((second - first / 2) / length)
    return Faces(center, corners, np.stack(a), np.stack(b))


def nearest_point(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lattice point nearest to each point of a plane, in lattice coordinates.

    Notes
    -----
    Of the rounded a, b and c = -a - b, the one with the largest rounding error is replaced by minus the sum of the
    others.
    """
    c = -a - b
    near = np.rint([a, b, c])
    off = np.abs(near - [a, b, c])
    near[0] = np.where((off[0] > off[1]) & (off[0] > off[2]), -near[1] - near[2], near[0])
    near[1] = np.where((off[1] >= off[0]) & (off[1] > off[2]), -near[0] - near[2], near[1])
    return near[0].astype(np.int64), near[1].astype(np.int64)


def lattice_parts(res: int) -> Iterator[Lattice]:
    """Yield the lattice of a resolution with the cell of each point, in parts that bound memory.

    Parameters
    ----------
    res : int
        H3 resolution.
    """
    shape, scale = faces(), math.sqrt(7) ** res
    for face in range(shape.center.shape[0]):
        dual = np.stack([shape.a[res % 2, face], shape.b[res % 2, face]])
        corners = scale * (shape.corners[face] @ dual.T) / (shape.corners[face] @ shape.center[face])[:, None]
        (west, south), (east, north) = np.floor(corners.min(axis=0)) - 1, np.ceil(corners.max(axis=0)) + 1
        columns, rows = np.arange(west, east + 1), np.arange(south, north + 1)
        steps = np.linalg.pinv(dual)  # unit steps along the axes at resolution 0, rotated if ``res`` is odd
        for some in np.array_split(columns, -(-columns.size * rows.size // _POINTS_AT_ONCE)):
            a, b = (axis.ravel() for axis in np.meshgrid(some, rows, indexing="ij"))
            sample = _nearest_inside(corners, np.stack([a, b], axis=1))
            near = nearest_point(*sample.T)
            touches = (near[0] == a) & (near[1] == b)
            x, y, z = (shape.center[face] + sample[touches] @ steps.T / scale).T
            lon, lat = np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
            yield Lattice(
                np.full(x.size, face), near[0][touches], near[1][touches], grid.cells_of_points(lon, lat, res)
            )


def _rotated(vectors: NDArray[np.float64], axes: NDArray[np.float64], angle_rad: float) -> NDArray[np.float64]:
    """Return vectors, each perpendicular to its axis, rotated counterclockwise about the axis."""
    return math.cos(angle_rad) * vectors + math.sin(angle_rad) * np.cross(axes, vectors)


def _nearest_inside(corners: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each lattice point, the nearest point of a triangle, moved slightly toward the lattice point.

    ``corners`` is (3, 2) and ``points`` (n, 2), both in lattice coordinates. Where a hexagon touches the triangle only
    at an edge or a corner, the sample is inside the hexagon, just across the edge, where the lattices of adjacent
    faces meet.
    """
    plane = np.array([[1.0, 0.0], [0.5, math.sqrt(3) / 2]])  # lengths and angles are true only in Cartesian coordinates
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
    sample = np.where(inside[:, None], points, nearest + _INSET * (points - nearest))
    return sample @ np.linalg.inv(plane)
