"""Make ``satclip_index/maps/coastlines.npz``, the coastlines and borders that maps are drawn with.

They are Natural Earth's (public domain), as the npm package world-atlas carries them: TopoJSON, in which each arc is
there once, so that an arc of two countries is a border and one of a single country a coast. To make them anew:

    npm pack world-atlas@2.0.2 && tar -xf world-atlas-2.0.2.tgz
    python benchmarks/make_outlines.py package
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = {"fine": "countries-50m.json", "coarse": "countries-110m.json"}
CREDIT = "Natural Earth 4.1 (public domain, naturalearthdata.com), from the npm package world-atlas 2.0.2"
TARGET = Path(__file__).parents[1] / "satclip_index" / "maps" / "coastlines.npz"
UNITS_PER_DEGREE = {"fine": 250, "coarse": 50}  # 0.4 km and 2 km: below the detail of either
ALONG_DEG = 1e-3  # so near the antimeridian, or a pole, an edge is where the plane was cut and not a coast


def main() -> None:
    """Write the file, and say what is in it."""
    arrays: dict[str, NDArray[Any]] = {"credit": np.array(CREDIT)}
    for level, name in LEVELS.items():
        topology = json.loads((Path(sys.argv[1]) / name).read_text(encoding="utf-8"))
        users = Counter(arc for country in topology["objects"]["countries"]["geometries"] for arc in arcs_of(country))
        lines = [
            (line, users[number] > 1)
            for number, arc in enumerate(topology["arcs"])
            for line in pieces(degrees_of(arc, topology["transform"]), UNITS_PER_DEGREE[level])
        ]
        points = np.concatenate([line for line, _ in lines])
        size = [len(line) for line, _ in lines]
        first = np.cumsum([0, *size[:-1]])
        steps = np.diff(points, axis=0, prepend=0)
        steps[first] = 0  # what a line begins with is kept apart: a step is small, and packs well
        arrays |= {
            f"{level}_units_per_degree": np.array(UNITS_PER_DEGREE[level]),
            f"{level}_size": np.array(size, np.uint16),
            f"{level}_is_border": np.array([border for _, border in lines]),
            f"{level}_begin": points[first].T.astype(np.int32),
            f"{level}_step": steps.T.astype(np.int16),
        }
        assert max(size) < 2**16
        assert np.abs(steps).max() < 2**15
        print(f"{level}: {len(lines):,} lines, {len(points):,} points")
    np.savez_compressed(TARGET, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


def arcs_of(geometry: dict[str, Any]) -> set[int]:
    """Return the arcs of a country, each once."""

    def flat(item: Any) -> Iterator[int]:
        if isinstance(item, int):
            yield item if item >= 0 else ~item  # the complement is the arc backwards
        else:
            for part in item:
                yield from flat(part)

    return set(flat(geometry["arcs"]))


def degrees_of(arc: Iterable[Iterable[int]], transform: dict[str, Any]) -> NDArray[np.float64]:
    """Return the points of an arc, (n, 2) lon and lat: TopoJSON keeps the differences of whole numbers."""
    points: NDArray[np.float64] = np.cumsum(np.array(arc, dtype=np.float64), axis=0)
    return points * transform["scale"] + transform["translate"]


def pieces(points: NDArray[np.float64], units_per_degree: int) -> Iterator[NDArray[np.int64]]:
    """Yield the lines that an arc is on a plane that ends at the antimeridian, in whole units of (lon, lat).

    A step across it is cut there; a step along it, or along a pole, is none of the Earth's, and is left out.
    """
    line: list[NDArray[np.float64]] = [points[0]]
    for a, b in pairwise(points):
        if is_artificial(a, b):
            yield from rounded(line, units_per_degree)
            line = [b]
            continue
        if abs(b[0] - a[0]) > 180:
            side = np.copysign(180.0, a[0])
            beyond = b[0] + 2 * side
            share = (side - a[0]) / (beyond - a[0]) if beyond != a[0] else 0.0
            lat = a[1] + share * (b[1] - a[1])
            yield from rounded([*line, np.array([side, lat])], units_per_degree)
            line = [np.array([-side, lat])]
        line.append(b)
    yield from rounded(line, units_per_degree)


def is_artificial(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Return whether an edge runs along the antimeridian or a pole."""
    along = min(abs(a[0]), abs(b[0])) > 180 - ALONG_DEG
    return bool(along or min(abs(a[1]), abs(b[1])) > 89.99)


def rounded(line: list[NDArray[np.float64]], units_per_degree: int) -> Iterator[NDArray[np.int64]]:
    """Yield a line in whole units, no point twice in a row; nothing where that leaves a single point."""
    points = np.rint(np.array(line) * units_per_degree).astype(np.int64)
    points = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]]
    if len(points) > 1:
        yield points


if __name__ == "__main__":
    main()
