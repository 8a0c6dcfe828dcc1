"""Cells that are like nothing far away."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import QueryError
from ..geo import grid, sphere
from ..geo.gazetteer import nearest_cities
from ..progress import Progress
from ..search.embedding_source import EmbeddingSource
from ..search.engine import Filter
from ..search.geo_filters import intersection, ranges_of
from ..search.greedy_selection import Walk
from ..search.nearest_neighbors import nearest_cells
from .neighbors import Matches, Neighbors
from .question import Bounds, check_km


@dataclass(frozen=True, slots=True)
class Unusual:
    """Which cells are asked about, and what they are compared with; as :meth:`Atlas.unusual` has them."""

    k: int | None
    beyond_km: float
    apart_km: float
    bounds: Bounds
    ocean: bool

    def __post_init__(self) -> None:
        check_km("beyond_km", self.beyond_km)
        check_km("apart_km", self.apart_km)
        if self.beyond_km == 0:
            raise QueryError("beyond_km is 0; a cell is most like itself. Expected kilometres above 0.")

    def describe(self) -> dict[str, Any]:
        """Return what is asked, as JSON can hold it."""
        return {
            "unusual": f"lowest similarity to the best match beyond {self.beyond_km:g} km",
            "k": self.k,
            "beyond_km": float(self.beyond_km),
            "apart_km": float(self.apart_km),
            **dict(self.bounds.described),
            "ocean": self.ocean,
        }


def unusual_cells(atlas: EmbeddingSource, res: int, rules: Unusual, *, progress: Progress | None = None) -> Neighbors:
    """Return the cells whose best match far away is worst, the most unusual first, ties by cell."""
    index = atlas.index(res)
    ranges = rules.bounds.ranges(index)
    if not rules.ocean:
        ranges.append(ranges_of(index.tree.rows.land.astype(bool)))
    rows = np.arange(len(index))
    if ranges:
        spans = intersection(*ranges)
        rows = np.concatenate([np.arange(start, stop) for start, stop in spans] or [rows[:0]])
    found = nearest_cells(
        atlas,
        index.cells[rows],
        res,
        1,
        Filter(land_only=not rules.ocean),
        away_km=rules.beyond_km,
        progress=progress,
    )
    cell, match, similarity = found.cell, found.neighbor[:, 0], found.similarity[:, 0]
    cell, match, similarity = cell[match != 0], match[match != 0], similarity[match != 0]
    if rows.size and not cell.size:
        raise QueryError(f"No cell has another beyond {rules.beyond_km:g} km to be compared with.")
    ascending = np.sort(similarity)
    better = cell.size - np.searchsorted(ascending, similarity, "right")
    order = np.lexsort((cell, similarity))
    lon, lat = grid.cell_centers(cell[order])
    columns = {"lon": lon, "lat": lat, "at": order}
    walk = Walk(rules.k or cell.size, sphere.PointSet(lon[:1], lat[:1]), 0.0, rules.apart_km, None, None)
    walk.take(columns)
    taken = walk.taken()
    at = taken["at"]
    match_lon, match_lat = grid.cell_centers(match[at])
    city, country = nearest_cities(match_lon, match_lat)
    matches = Matches(
        cell=cell[at],
        lon=taken["lon"],
        lat=taken["lat"],
        similarity=similarity[at],
        distance_km=sphere.distances_km(taken["lon"], taken["lat"], match_lon, match_lat),
    )
    description = rules.describe() | {"res": res, "encoder": atlas.manifest.encoder["name"], "exact": True}
    return Neighbors.from_matches(
        matches,
        atlas.manifest.entry(res),
        description | {"compared_cells": int(cell.size)},
        extra={
            "uniqueness": 100.0 * better[at] / max(1, cell.size - 1),
            "match_cell": match[at],
            "match_lon": match_lon,
            "match_lat": match_lat,
            "match_city": np.array(city, dtype=object),
            "match_country": np.array(country, dtype=object),
        },
    )
