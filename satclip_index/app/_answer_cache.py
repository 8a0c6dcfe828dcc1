"""Search results and pictures of similarity, shared and cached across sessions."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..atlas import Atlas
from ..errors import QueryError
from ..geo import grid
from ..geo.places import Place
from ..maps.color_scale import Scale
from ..maps.heatmap import HeatMaps
from ..query.neighbors import Neighbors
from ._state import State, View
from ._typed_place import place_of
from ._user_table import Table
from ._view_geometry import Canvas, Steps, canvas_of

Key = TypeVar("Key")
Value = TypeVar("Value")
_CACHE_SIZE = 64  # results, and as many pictures


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The results for a state.

    Attributes
    ----------
    state : State
    labels : tuple of str
        Description of each example.
    points : tuple of (lon, lat)
        Location of each example, in degrees.
    places : Neighbors
        Result of :meth:`Atlas.like`.
    query : (dim,) float32
        Query vector.
    res : int
        Resolution of the search.
    """

    state: State
    labels: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    places: Neighbors
    query: NDArray[np.float32]
    res: int


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture of similarity as color numbers, (height, width) uint8, south up as in Bokeh."""

    steps: NDArray[np.uint8]
    canvas: Canvas
    res: int


class AnswerCache:
    """Answers and pictures for all sessions; thread-safe.

    Parameters
    ----------
    atlas : Atlas
    name : str, optional
        Name of the atlas in commands; by default its folder.
    """

    def __init__(self, atlas: Atlas, name: str | None = None) -> None:
        self.atlas, self.name = atlas, name or str(atlas.path)
        self._maps, self._lock = HeatMaps(atlas), Lock()
        self._steps: dict[int, Steps] = {}
        self._answers: OrderedDict[State, Answer] = OrderedDict()
        self._pictures: OrderedDict[tuple[State, Canvas], Picture] = OrderedDict()

    def answer(self, state: State, table: Table | None = None) -> Answer:
        """Return the results for a state.

        Parameters
        ----------
        state : State
        table : Table, optional
            The uploaded table of the state; by default the search is over all cells.

        Raises
        ------
        SatclipIndexError
            As for :meth:`Atlas.like`.
        """
        if table is not None:
            return self._search(state, table)
        cached = self._cached(self._answers, state.question, lambda: self._search(state.question, None))
        return replace(cached, state=state)

    def picture(self, answer: Answer, view: View, size: tuple[int, int]) -> Picture:
        """Return the picture of similarity for a view of (width, height) pixels."""
        canvas = canvas_of(view, size)
        # Search rules change the results, but not the similarity of cells.
        key = State(examples=answer.state.examples, res=answer.state.res)
        return self._cached(self._pictures, (key, canvas), lambda: self._draw(answer, canvas))

    def scale(self, answer: Answer) -> Scale:
        """Return the color scale of similarity."""
        return Scale(self.atlas.manifest.entry(answer.res))

    def at(self, answer: Answer, lon: float, lat: float) -> dict[str, Any]:
        """Return the cell at a point and its similarity, if the cell is in the atlas."""
        cell = grid.cells_of_points(lon, lat, answer.res)
        index = self.atlas.index(answer.res)
        row = index.rows_of(cell)
        info: dict[str, Any] = {"cell": grid.cell_to_text(cell[0]), "lon": lon, "lat": lat}
        if row[0] < 0:
            return info
        similarity = index.engine.similarity_of(answer.query, row)
        percentile = self.atlas.manifest.entry(answer.res).percentile(similarity)
        return info | {"similarity": float(similarity[0]), "percentile": float(percentile[0])}

    def warm_up(self) -> None:
        """Load and compile what the first search needs."""
        first = self.answer(State.of_link({"like": ["0,0"]}))
        for width in (900, 400):  # desktop and phone
            self.picture(first, View(), (width, width // 2))

    def _search(self, state: State, table: Table | None) -> Answer:
        res = self.atlas.resolutions[-1] if state.res is None else state.res
        places = [place_of(example) for example in state.examples]
        wanted = [place for place, example in zip(places, state.examples, strict=True) if not example.unlike]
        if not wanted:
            raise QueryError("There are only examples to be unlike; add a place to be like.")
        unwanted = places[len(wanted) :]
        rows = table.rows_where(state.where) if table is not None else None
        places_like = self.atlas.like(wanted, unlike=unwanted, table=rows, **state.like_options())
        query = self.atlas.query_vector(wanted, unlike=unwanted, res=res)
        return Answer(
            state, tuple(place.label for place in places), tuple(map(_point_of, places)), places_like, query, res
        )

    def _draw(self, answer: Answer, canvas: Canvas) -> Picture:
        heat = self._maps.heat(answer.query, *canvas, res=answer.state.res)
        with self._lock:
            if heat.res not in self._steps:
                self._steps[heat.res] = Steps(Scale(self.atlas.manifest.entry(heat.res)))
        steps = self._steps[heat.res].of(heat.similarity)
        return Picture(np.ascontiguousarray(steps[::-1]), canvas, heat.res)

    def _cached(self, cache: "OrderedDict[Key, Value]", key: Key, compute: Callable[[], Value]) -> Value:
        """Return a cached value, or compute it; concurrent callers may compute it twice."""
        with self._lock:
            if key in cache:
                cache.move_to_end(key)
                return cache[key]
        value = compute()
        with self._lock:
            cache[key] = value
            while len(cache) > _CACHE_SIZE:
                cache.popitem(last=False)
        return value


def _point_of(place: Place) -> tuple[float, float]:
    """Return the point of a typed place: its coordinates, or the center of its cell."""
    assert place.area is None
    lon, lat = grid.cell_centers(np.array([place.cell], np.uint64)) if place.points is None else place.points
    return float(lon[0]), float(lat[0])
