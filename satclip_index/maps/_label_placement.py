"""Placement of the labels of a map, so that they cover neither each other nor places."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GAPS = (6.0, 14.0, 24.0, 36.0, 52.0)  # pixels between a place and its label, tried in this order
_DIRECTIONS = np.radians([0, 180, 45, 315, 135, 225, 90, 270, 22, 338, 158, 202, 68, 292, 112, 248])
_MARGIN = 1.0  # pixels between two labels
_STEP = 4.0  # pixels between the points that represent the line from a place to its label


@dataclass(frozen=True, slots=True)
class Label:
    """A label to place: the position of its place and its size, in pixels; ``over`` if it may cover the place."""

    x: float
    y: float
    width: float
    height: float
    over: bool = False


def place_labels(
    labels: Sequence[Label], width: float, height: float, *, taken: Sequence[Label] = ()
) -> list[tuple[float, float] | None]:
    """Return the offset of the center of each label from its place, in pixels; None if there is no room for it.

    Parameters
    ----------
    labels : sequence of Label
        In order of importance: each takes the first free spot, nearest to its place.
    width, height : float
        Size of the map, which contains every label.
    taken : sequence of Label
        Boxes around their centers that must stay free, besides the places of the labels.
    """
    boxes = np.array([_box(item, 0.0, 0.0) for item in taken]).reshape(-1, 4)
    places = np.array([(label.x, label.y) for label in labels]).reshape(-1, 2)
    lines = np.empty((0, 2))  # from places to their labels
    offsets: list[tuple[float, float] | None] = []
    for label in labels:
        points = np.vstack([places[(places != (label.x, label.y)).any(axis=1)], lines])
        for spot in _spots(label):
            box, line = _box(label, *spot), _line(label, *spot)
            inside = box.min() >= 0 and box[2] <= width and box[3] <= height
            crossed = _touched(boxes if label.over else boxes[len(taken) :], line)
            if inside and _is_free(box, boxes, points) and not crossed.any():
                offsets.append(spot)
                boxes, lines = np.vstack([boxes, box]), np.vstack([lines, line])
                break
        else:
            offsets.append(None)
    return offsets


def _spots(label: Label) -> Iterator[tuple[float, float]]:
    """Yield the offsets to try, in order: on the place, then around it at increasing distances."""
    if label.over:
        yield 0.0, 0.0
    for gap in _GAPS:
        for x, y in zip(np.cos(_DIRECTIONS).tolist(), np.sin(_DIRECTIONS).tolist(), strict=True):
            yield x * (gap + label.width / 2), y * (gap + label.height / 2)


def _box(label: Label, right: float, down: float) -> NDArray[np.float64]:
    x, y = label.x + right, label.y + down
    half = label.width / 2, label.height / 2
    return np.array([x - half[0], y - half[1], x + half[0], y + half[1]])


def _line(label: Label, right: float, down: float) -> NDArray[np.float64]:
    """Return points on the line from a place to the center of its label."""
    share = np.arange(0.0, 1.0, _STEP / max(_STEP, float(np.hypot(right, down))))[:, None]
    points: NDArray[np.float64] = np.array([label.x, label.y]) + share * np.array([right, down])
    return points


def _is_free(box: NDArray[np.float64], boxes: NDArray[np.float64], points: NDArray[np.float64]) -> bool:
    left, top, right, bottom = box + np.array([-_MARGIN, -_MARGIN, _MARGIN, _MARGIN])
    apart = (boxes[:, 0] >= right) | (boxes[:, 2] <= left) | (boxes[:, 1] >= bottom) | (boxes[:, 3] <= top)
    return bool(apart.all() and not _touched(np.array([[left, top, right, bottom]]), points).any())


def _touched(boxes: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether any point is in each box."""
    x, y = points[:, 0], points[:, 1]
    left, top, right, bottom = boxes.T[:, :, None]
    inside: NDArray[np.bool_] = ((x > left) & (x < right) & (y > top) & (y < bottom)).any(axis=1)
    return inside
