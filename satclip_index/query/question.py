"""What is asked of an atlas: which examples to be like, and which places may answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..checks import check_number, check_whole_number
from ..errors import PlaceError, QueryError
from ..geo import sphere
from ..geo.areas import Area, Box
from ..geo.geojson_shapes import read_shape
from ..geo.places import Place, places_of
from ..search.engine import Filter, Ranges
from ..search.geo_filters import MANY_POINTS, away_from, complement, disks, intersection, rows_in, union
from ..search.index import Index, Indexed
from ..search.place_vectors import VectorsOf, normalized, vector_of
from ..storage.manifest import ResolutionEntry
from ._map_context import Scene, example_of

DEFAULT_K = 10


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where answers may lie: in any of the areas ``within``, in the ``bbox``, and in none of those ``outside``."""

    within: tuple[Area, ...] = ()
    outside: tuple[Area, ...] = ()
    bbox: Box | None = None
    described: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, within: Any = None, outside: Any = None, bbox: Sequence[float | str] | str | None = None) -> Self:
        """Return the bounds that GeoJSON files or documents, or lists of these, and a box (W, S, E, N) set."""
        described: dict[str, Any] = {}
        areas = {}
        for name, given in (("within", within), ("outside", outside)):
            items = [] if given is None else given if isinstance(given, list | tuple) else [given]
            areas[name] = tuple(_area(item) for item in items)
            if items:
                described[name] = [item if isinstance(item, dict) else str(item) for item in items]
        box = None
        if bbox is not None:
            sides = bbox.split(",") if isinstance(bbox, str) else list(bbox)
            try:
                west, south, east, north = map(float, sides)
            except (TypeError, ValueError):
                raise QueryError(f"bbox is {bbox!r}; expected W,S,E,N, four numbers of degrees.") from None
            box = Box(west, south, east, north)
            described["bbox"] = [west, south, east, north]
        return cls(areas["within"], areas["outside"], box, tuple(described.items()))

    def __bool__(self) -> bool:
        return bool(self.within or self.outside or self.bbox)

    def holds(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether each point, (n,) degrees, may be an answer."""
        allowed = np.full(lon.size, not self.within)
        for area in self.within:
            allowed |= area.holds(lon, lat)
        for area in self.outside:
            allowed &= ~area.holds(lon, lat)
        return allowed & self.bbox.holds(lon, lat) if self.bbox else allowed

    def ranges(self, index: Index) -> list[Ranges]:
        """Return ranges of rows of which each must hold an answer."""
        found = [union(*(rows_in(index.tree, area) for area in self.within))] if self.within else []
        found += [complement(rows_in(index.tree, area), len(index)) for area in self.outside]
        return found + ([rows_in(index.tree, self.bbox)] if self.bbox else [])

    def lines(self) -> tuple[NDArray[np.float64], ...]:
        """Return the outlines of all of them, (n, 2) degrees each."""
        lines = [line for area in (*self.within, *self.outside) for line in area.lines()]
        return (*lines, *(self.bbox.lines() if self.bbox else ()))


@dataclass(frozen=True, slots=True)
class Question:
    """Examples and rules, checked.

    Attributes
    ----------
    wanted, unwanted : tuple of Place
        What to be like, at least one, and unlike.
    res : int
        Of the atlas.
    k : int or None
        How many answers; None for all that qualify.
    exclude_within_km, apart_km : float
        As :meth:`Atlas.like` has them.
    bounds : Bounds
    ocean : bool
    least : float
        Answers are at least so similar.
    """

    wanted: tuple[Place, ...]
    unwanted: tuple[Place, ...]
    res: int
    k: int | None
    exclude_within_km: float
    apart_km: float
    bounds: Bounds
    ocean: bool
    least: float

    @classmethod
    def of(
        cls,
        like: Any,
        unlike: Any,
        k: int | None,
        res: int,
        entry: ResolutionEntry,
        exclude_within_km: float,
        apart_km: float,
        bounds: Bounds,
        ocean: bool,
        min_similarity: float | None,
        min_percentile: float | None,
    ) -> Self:
        """Return a question, or raise PlaceError or QueryError; ``entry`` is that of the resolution."""
        wanted, unwanted = places_of(like), places_of(unlike)
        if not wanted:
            raise QueryError("No example was given; expected at least one place.")
        distances = check_km("exclude_within_km", exclude_within_km), check_km("apart_km", apart_km)
        least = -math.inf
        if min_similarity is not None:
            least = check_number("min_similarity", min_similarity, low=-1, high=1)
        if min_percentile is not None:
            least = max(least, entry.similarity_at(check_number("min_percentile", min_percentile, low=0, high=100)))
        if check_k(k) is None and least == -math.inf:
            k = DEFAULT_K
        return cls(tuple(wanted), tuple(unwanted), res, check_k(k), *distances, bounds, bool(ocean), least)

    def query(self, vectors_of: VectorsOf) -> NDArray[np.float32]:
        """Return the vector to be like, (dim,) float32.

        Notes
        -----
        The vector of one example, the unit weighted mean of several, and with unwanted ones the unit vector along
        2 mean(wanted) - mean(unwanted) (Rocchio 1971). An area counts as the unit mean of its cells.
        """
        wanted = [self.vector(place, vectors_of) for place in self.wanted]
        if len(wanted) == 1 and not self.unwanted:
            return wanted[0]
        query: NDArray[np.float64] = np.average(
            np.stack(wanted).astype(np.float64), axis=0, weights=[item.weight for item in self.wanted]
        )
        if self.unwanted:
            unwanted = np.stack([self.vector(place, vectors_of) for place in self.unwanted]).astype(np.float64)
            query = 2 * query - np.average(unwanted, axis=0, weights=[item.weight for item in self.unwanted])
        return normalized(query, "examples")

    def vector(self, place: Place, vectors_of: VectorsOf) -> NDArray[np.float32]:
        """Return the vector of one example, (dim,) float32."""
        return vector_of(place, self.res, vectors_of)

    def examples(self) -> sphere.PointSet:
        """Return where the wanted examples are."""
        lon, lat = map(np.concatenate, zip(*(place.locations(self.res) for place in self.wanted), strict=True))
        return sphere.PointSet(lon, lat)

    def where(self, index: Index) -> Filter:
        """Return the rules as the engine takes them."""
        examples = self.examples()
        ranges = self.bounds.ranges(index)
        away = None
        if len(examples) > MANY_POINTS and self.exclude_within_km > 0:
            ranges.append(away_from(index.tree, examples, self.exclude_within_km))
        elif self.exclude_within_km > 0:
            away = disks(examples.lon, examples.lat, self.exclude_within_km)
        return Filter(
            land_only=not self.ocean,
            away=away,
            ranges=intersection(*ranges) if ranges else None,
            apart_rad=self.apart_km / sphere.EARTH_RADIUS_KM,
            least=self.least,
        )

    def scene(self, atlas: Indexed, query: NDArray[np.float32]) -> Scene:
        """Return what a map of the answer needs; ``query`` as :meth:`query` gives it."""
        examples = [example_of(place, wanted=True) for place in self.wanted]
        examples += [example_of(place, wanted=False) for place in self.unwanted]
        return Scene(atlas, query, self.res, tuple(examples), self.bounds.lines(), not self.ocean)

    def describe(self) -> dict[str, Any]:
        """Return what is asked, as JSON can hold it."""
        return {
            "like": [place.describe(self.res) for place in self.wanted],
            "unlike": [place.describe(self.res) for place in self.unwanted],
            "query": self._formula(),
            "k": self.k,
            "res": self.res,
            "exclude_within_km": self.exclude_within_km,
            "apart_km": self.apart_km,
            **dict(self.bounds.described),
            "ocean": self.ocean,
            **({"min_similarity": self.least} if self.least > -math.inf else {}),
        }

    def _formula(self) -> str:
        if self.unwanted:
            return "unit(2 * mean(like) - mean(unlike))"
        return "unit(mean(like))" if len(self.wanted) > 1 else "like"


def check_km(name: str, km: float | None) -> float:
    """Return kilometres, or raise QueryError if they are not a number of at least 0."""
    return check_number(name, km, low=0)


def check_k(k: int | None) -> int | None:
    """Return ``k``, or raise QueryError if it is not a whole number of at least 1."""
    return None if k is None else check_whole_number("k", k)


def _area(source: Any) -> Area:
    shape = read_shape(source if isinstance(source, dict) else Path(source))
    if shape.geom_type == "MultiPoint":
        name = "The GeoJSON" if isinstance(source, dict) else source
        raise PlaceError(f"{name} holds points; an area to search in or out of must be polygons.")
    return Area(shape)
