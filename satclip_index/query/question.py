"""A checked question: the examples, the resolution to search, and the rules for results."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..checks import check_number, check_whole_number
from ..errors import QueryError
from ..geo import sphere
from ..geo.places import Place, places_of
from ..search.embedding_source import EmbeddingSource
from ..search.engine import Filter
from ..search.index import Index
from ..search.place_vectors import normalized, vector_of
from ..search.search_rules import SearchRules
from ..storage.manifest import ResolutionEntry
from ._map_context import MapContext, example_of

DEFAULT_K = 10


@dataclass(frozen=True, slots=True)
class Question:
    """Examples and rules; make one with :meth:`of`, which checks them.

    Attributes
    ----------
    wanted : tuple of Place
        Places that results are similar to; at least one.
    unwanted : tuple of Place
        Places that results are not similar to.
    res : int
        The resolution to search.
    rules : SearchRules
        With ``min_percentile`` turned into ``min_similarity``.
    """

    wanted: tuple[Place, ...]
    unwanted: tuple[Place, ...]
    res: int
    rules: SearchRules

    @classmethod
    def of(cls, like: Any, unlike: Any, res: int, rules: SearchRules, entry: ResolutionEntry) -> Self:
        """Return a question, or raise PlaceError or QueryError.

        Parameters
        ----------
        like, unlike :
            Places, as in :meth:`Atlas.like`.
        res : int
            A resolution of the atlas.
        rules : SearchRules
            Without ``k`` and a minimum similarity, the 10 best are the results.
        entry : ResolutionEntry
            The manifest's entry of the resolution, which has the percentiles.
        """
        wanted, unwanted = places_of(like), places_of(unlike)
        if not wanted:
            raise QueryError("No example was given; expected at least one place.")
        return cls(tuple(wanted), tuple(unwanted), res, check_rules(rules, entry))

    def query(self, atlas: EmbeddingSource) -> NDArray[np.float32]:
        """Return the query vector, (dim,) float32.

        Notes
        -----
        The vector of a single example, the unit weighted mean of several, and with unwanted ones the unit vector along
        2 mean(wanted) - mean(unwanted) (Rocchio 1971). The vector of an area is the unit mean of its cells.
        """
        wanted = [self.vector(atlas, place) for place in self.wanted]
        if len(wanted) == 1 and not self.unwanted:
            return wanted[0]
        query: NDArray[np.float64] = np.average(
            np.stack(wanted).astype(np.float64), axis=0, weights=[place.weight for place in self.wanted]
        )
        if self.unwanted:
            unwanted = np.stack([self.vector(atlas, place) for place in self.unwanted]).astype(np.float64)
            query = 2 * query - np.average(unwanted, axis=0, weights=[place.weight for place in self.unwanted])
        return normalized(query, "examples")

    def vector(self, atlas: EmbeddingSource, place: Place) -> NDArray[np.float32]:
        """Return the vector of one example, (dim,) float32."""
        return vector_of(atlas, place, self.res)

    def examples(self) -> sphere.PointSet:
        """Return the points of the wanted examples."""
        lon, lat = map(np.concatenate, zip(*(place.locations(self.res) for place in self.wanted), strict=True))
        return sphere.PointSet(lon, lat)

    def to_filter(self, index: Index) -> Filter:
        """Return the rules as the engine takes them."""
        return self.rules.to_filter(index, examples=self.examples())

    def map_context(self, atlas: EmbeddingSource, query: NDArray[np.float32]) -> MapContext:
        """Return what a map of the results needs; ``query`` is that of :meth:`query`."""
        examples = [example_of(place, wanted=True) for place in self.wanted]
        examples += [example_of(place, wanted=False) for place in self.unwanted]
        area, ocean = self.rules.area, self.rules.ocean
        return MapContext(atlas, query, self.res, tuple(examples), area.outlines(), not ocean)

    def describe(self) -> dict[str, Any]:
        """Return the question as a dictionary for JSON."""
        rules = self.rules
        return {
            "like": [place.describe(self.res) for place in self.wanted],
            "unlike": [place.describe(self.res) for place in self.unwanted],
            "query": self._formula(),
            "k": rules.k,
            "res": self.res,
            "exclude_within_km": rules.exclude_within_km,
            "apart_km": rules.apart_km,
            **dict(rules.area.description),
            "ocean": rules.ocean,
            **({} if rules.min_similarity is None else {"min_similarity": rules.min_similarity}),
        }

    def _formula(self) -> str:
        if self.unwanted:
            return "unit(2 * mean(like) - mean(unlike))"
        return "unit(mean(like))" if len(self.wanted) > 1 else "like"


def check_rules(rules: SearchRules, entry: ResolutionEntry) -> SearchRules:
    """Return rules with their defaults filled in and the percentile as a similarity, or raise QueryError."""
    exclude_within_km = check_km("exclude_within_km", rules.exclude_within_km)
    apart_km = check_km("apart_km", rules.apart_km)
    minimum = []
    if rules.min_similarity is not None:
        minimum.append(check_number("min_similarity", rules.min_similarity, low=-1, high=1))
    if rules.min_percentile is not None:
        minimum.append(entry.similarity_at(check_number("min_percentile", rules.min_percentile, low=0, high=100)))
    k = check_k(rules.k)
    return replace(
        rules,
        k=DEFAULT_K if k is None and not minimum else k,
        exclude_within_km=exclude_within_km,
        apart_km=apart_km,
        ocean=bool(rules.ocean),
        min_similarity=max(minimum, default=None),
        min_percentile=None,
    )


def check_km(name: str, km: float | None) -> float:
    """Return kilometers, or raise QueryError if they are not a number of at least 0."""
    return check_number(name, km, low=0)


def check_k(k: int | None) -> int | None:
    """Return ``k``, or raise QueryError if it is not a whole number of at least 1."""
    return None if k is None else check_whole_number("k", k)
