"""The rules of a search: how many results, where, how far apart and how similar."""

import math
from dataclasses import dataclass

from ..geo import sphere
from .engine import Filter, Ranges
from .geo_filters import MANY_POINTS, away_from, disks, intersection
from .index import Index
from .search_area import EVERYWHERE, SearchArea


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRules:
    """Which cells, or rows of a table, are results; by default all of them.

    Attributes
    ----------
    k : int or None
        Number of results; None for all that qualify.
    exclude_within_km : float
        Minimum distance between a result and any example, in km.
    apart_km : float
        Minimum distance between any two results, in km; they are chosen greedily, the most similar first.
    area : SearchArea
        Where results are.
    ocean : bool
        Whether cells whose center is not on land are results. Rows of a table may be anywhere.
    min_similarity : float or None
        Minimum similarity of a result.
    min_percentile : float or None
        The same as a percentage of random pairs of land cells; :class:`Question` turns it into ``min_similarity``.
    """

    k: int | None = None
    exclude_within_km: float = 0.0
    apart_km: float = 0.0
    area: SearchArea = EVERYWHERE
    ocean: bool = True
    min_similarity: float | None = None
    min_percentile: float | None = None

    def to_filter(self, index: Index, *, examples: sphere.PointSet | None = None, rows: Ranges | None = None) -> Filter:
        """Return the rules, except ``k``, as the engine takes them.

        Parameters
        ----------
        index : Index
            The resolution to search.
        examples : PointSet, optional
            The points that ``exclude_within_km`` applies to.
        rows : (m, 2) int64, optional
            The only rows that may be results, as sorted disjoint ranges.
        """
        ranges = self.area.row_ranges(index) + ([] if rows is None else [rows])
        away = None
        if examples is not None and self.exclude_within_km > 0:
            if len(examples) > MANY_POINTS:
                ranges.append(away_from(index.tree, examples, self.exclude_within_km))
            else:
                away = disks(examples.lon, examples.lat, self.exclude_within_km)
        return Filter(
            land_only=not self.ocean,
            away=away,
            ranges=intersection(*ranges) if ranges else None,
            apart_rad=self.apart_km / sphere.EARTH_RADIUS_KM,
            least=-math.inf if self.min_similarity is None else self.min_similarity,
        )
