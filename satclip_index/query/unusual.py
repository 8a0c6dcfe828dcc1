"""The most unusual cells: those that are not similar to any cell far away."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import QueryError
from ..geo import grid, sphere
from ..geo.gazetteer import nearest_cities
from ..progress import Progress
from ..search.embedding_source import EmbeddingSource
from ..search.geo_filters import intersection, ranges_of
from ..search.greedy_selection import GreedySelection
from ..search.nearest_neighbors import nearest_cells
from ..search.search_area import EVERYWHERE, SearchArea
from ..search.search_rules import SearchRules
from .neighbors import Matches, Neighbors
from .question import check_km


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusualRules:
    """Which cells are compared, and with which; the fields are parameters of :meth:`Atlas.unusual`."""

    k: int | None = None
    beyond_km: float = 1000.0
    apart_km: float = 300.0
    area: SearchArea = EVERYWHERE
    ocean: bool = False

    def __post_init__(self) -> None:
        check_km("beyond_km", self.beyond_km)
        check_km("apart_km", self.apart_km)
        if self.beyond_km == 0:
            raise QueryError("beyond_km is 0; a cell is most like itself. Expected kilometres above 0.")

    def describe(self) -> dict[str, Any]:
        """Return the rules as a dictionary for JSON."""
        return {
            "unusual": f"lowest similarity to the best match beyond {self.beyond_km:g} km",
            "k": self.k,
            "beyond_km": float(self.beyond_km),
            "apart_km": float(self.apart_km),
            **dict(self.area.description),
            "ocean": self.ocean,
        }


def unusual_cells(
    atlas: EmbeddingSource, res: int, rules: UnusualRules, *, progress: Progress | None = None
) -> Neighbors:
    """Return the cells whose best match far away has the lowest similarity, in that order, ties by cell."""
    index = atlas.index(res)
    ranges = rules.area.row_ranges(index)
    if not rules.ocean:
        ranges.append(ranges_of(index.tree.rows.land.astype(bool)))
    rows = np.arange(len(index))
    if ranges:
        spans = intersection(*ranges)
        rows = np.concatenate([np.arange(start, stop) for start, stop in spans] or [rows[:0]])
    match_rules = SearchRules(k=1, exclude_within_km=rules.beyond_km, ocean=rules.ocean)
    nearest = nearest_cells(atlas, index.cells[rows], res, match_rules, progress=progress)
    cell, match, similarity = nearest.cell, nearest.neighbor[:, 0], nearest.similarity[:, 0]
    cell, match, similarity = cell[match != 0], match[match != 0], similarity[match != 0]
    if rows.size and not cell.size:
        raise QueryError(f"No cell has another beyond {rules.beyond_km:g} km to be compared with.")
    ascending = np.sort(similarity)
    better = cell.size - np.searchsorted(ascending, similarity, "right")
    order = np.lexsort((cell, similarity))
    lon, lat = grid.cell_centers(cell[order])
    selection = GreedySelection(SearchRules(k=rules.k, apart_km=rules.apart_km))
    selection.add({"lon": lon, "lat": lat, "at": order})
    selected = selection.selected()
    at = selected["at"]
    match_lon, match_lat = grid.cell_centers(match[at])
    city, country = nearest_cities(match_lon, match_lat)
    matches = Matches(
        cell=cell[at],
        lon=selected["lon"],
        lat=selected["lat"],
        similarity=similarity[at],
        distance_km=sphere.distances_km(selected["lon"], selected["lat"], match_lon, match_lat),
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
