"""Answers and pictures, made once for all who ask the same."""

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
Made = TypeVar("Made")
_KEPT = 64  # answers, and pictures


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a state asked for.

    Attributes
    ----------
    state : State
    labels : tuple of str
        What each example was taken for.
    points : tuple of (lon, lat)
        Where each is.
    places : Neighbors
        What :meth:`Atlas.like` answers.
    query : (dim,) float32
        What it compared with.
    res : int
        The resolution it searched.
    """

    state: State
    labels: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    places: Neighbors
    query: NDArray[np.float32]
    res: int


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The Earth in numbers of colours, (height, width) uint8, south up, as Bokeh draws it."""

    steps: NDArray[np.uint8]
    canvas: Canvas
    res: int


class Desk:
    """What all sessions share; its methods may be called from any thread.

    Parameters
    ----------
    atlas : Atlas
    name : str, optional
        What commands call it; by default its folder.
    """

    def __init__(self, atlas: Atlas, name: str | None = None) -> None:
        self.atlas, self.name = atlas, name or str(atlas.path)
        self._maps, self._lock = HeatMaps(atlas), Lock()
        self._steps: dict[int, Steps] = {}
        self._answers: OrderedDict[State, Answer] = OrderedDict()
        self._pictures: OrderedDict[tuple[State, Canvas], Picture] = OrderedDict()

    def answer(self, state: State, table: Table | None = None) -> Answer:
        """Return the answer to what a state asks.

        Parameters
        ----------
        state : State
        table : Table, optional
            That of the state's name; without it the cells are the candidates.

        Raises
        ------
        SatclipIndexError
            As :meth:`Atlas.like`.
        """
        if table is not None:
            return self._asked(state, table)
        made = self._kept(self._answers, state.question, lambda: self._asked(state.question, None))
        return replace(made, state=state)

    def picture(self, answer: Answer, view: View, size: tuple[int, int]) -> Picture:
        """Return the similarity of a view of so many pixels, (width, height)."""
        canvas = canvas_of(view, size)
        # The rules change which places answer, and not how alike the Earth is.
        key = State(examples=answer.state.examples, res=answer.state.res)
        return self._kept(self._pictures, (key, canvas), lambda: self._painted(answer, canvas))

    def scale(self, answer: Answer) -> Scale:
        """Return how similarity becomes colour."""
        return Scale(self.atlas.manifest.entry(answer.res))

    def at(self, answer: Answer, lon: float, lat: float) -> dict[str, Any]:
        """Return the cell at a point and how alike it is; no similarity where the atlas does not hold the cell."""
        cell = grid.cells_of_points(lon, lat, answer.res)
        index = self.atlas.index(answer.res)
        row = index.rows_of(cell)
        found: dict[str, Any] = {"cell": grid.cell_to_text(cell[0]), "lon": lon, "lat": lat}
        if row[0] < 0:
            return found
        similarity = index.engine.similarity_of(answer.query, row)
        percentile = self.atlas.manifest.entry(answer.res).percentile(similarity)
        return found | {"similarity": float(similarity[0]), "percentile": float(percentile[0])}

    def warm_up(self) -> None:
        """Have ready what the first question would wait for."""
        first = self.answer(State.of_link({"like": ["0,0"]}))
        for width in (900, 400):  # on a desk, and on a telephone
            self.picture(first, View(), (width, width // 2))

    def _asked(self, state: State, table: Table | None) -> Answer:
        res = self.atlas.resolutions[-1] if state.res is None else state.res
        places = [place_of(example) for example in state.examples]
        wanted = [place for place, example in zip(places, state.examples, strict=True) if not example.unlike]
        if not wanted:
            raise QueryError("Only examples to be unlike were given; add a place to be like.")
        unwanted = places[len(wanted) :]
        rows = table.rows_where(state.where) if table is not None else None
        found = self.atlas.like(wanted, unlike=unwanted, table=rows, **state.asked())
        query = self.atlas.query_vector(wanted, unlike=unwanted, res=res)
        return Answer(state, tuple(place.label for place in places), tuple(map(_point_of, places)), found, query, res)

    def _painted(self, answer: Answer, canvas: Canvas) -> Picture:
        heat = self._maps.heat(answer.query, *canvas, res=answer.state.res)
        with self._lock:
            if heat.res not in self._steps:
                self._steps[heat.res] = Steps(Scale(self.atlas.manifest.entry(heat.res)))
        steps = self._steps[heat.res].of(heat.similarity)
        return Picture(np.ascontiguousarray(steps[::-1]), canvas, heat.res)

    def _kept(self, kept: "OrderedDict[Key, Made]", key: Key, make: Callable[[], Made]) -> Made:
        """Return what is kept under a key, or make it; two who ask at once may both make it."""
        with self._lock:
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        made = make()
        with self._lock:
            kept[key] = made
            while len(kept) > _KEPT:
                kept.popitem(last=False)
        return made


def _point_of(place: Place) -> tuple[float, float]:
    """Return where to mark a place that was typed: a point, or a cell."""
    assert place.area is None
    lon, lat = grid.cell_centers(np.array([place.cell], np.uint64)) if place.points is None else place.points
    return float(lon[0]), float(lat[0])
