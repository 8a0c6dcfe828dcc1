"""The page as a Bokeh document: a map, what is drawn on it, and a channel for everything else."""

import json
from collections.abc import Callable
from concurrent.futures import Executor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.core.properties import String
from bokeh.document import Document
from bokeh.model import DataModel
from bokeh.models import CustomJS
from jinja2 import Environment, FileSystemLoader

from ._answer_cache import Answer, Desk, Picture
from ._bokeh_layers import Layers, map_figure
from ._session import Message, Session
from ._state import State, View
from ._view_geometry import TURNS, lines_in, rings_of, with_room

if TYPE_CHECKING:
    from jinja2 import Template

WEB = Path(__file__).with_name("web")
_BIG, _SMALL = 22, 9  # pixels across a pin with a number, and of one without


class Channel(DataModel):
    """What the page and the server say to each other, as JSON: the page sets ``asked``, the server ``said``."""

    asked: Any = String(default="")
    said: Any = String(default="")


class Page:
    """A session's screen: a Bokeh document.

    Parameters
    ----------
    document : Document
    """

    def __init__(self, document: Document) -> None:
        self._document, self._said = document, 0
        self._channel = Channel(name="channel")
        self._layers = Layers()
        self._drawn: Any = None
        self._area_drawn = ""
        document.add_root(map_figure(self._layers))
        document.add_root(self._channel)

    def connect(self, session: Session) -> None:
        """Let a session hear what the page asks, and say on the page what it answers."""
        self._channel.on_change("asked", lambda _, __, text: session.hear(text))
        self._document.on_session_destroyed(lambda _: session.close())

    def say(self, message: Message) -> None:
        """Tell the page something."""
        self._said += 1  # a text that is set twice is sent once
        self._channel.said = json.dumps(message | {"said": self._said})

    def show_picture(self, picture: Picture | None) -> None:
        """Draw the similarity; nothing for None."""
        if picture is self._drawn:
            return
        self._drawn = picture
        if picture is None:
            self._layers.picture.data = {name: [] for name in self._layers.picture.data}
            return
        west, south, east, north = picture.canvas.bounds
        self._layers.picture.data = {
            "image": [picture.steps],
            "west": [west],
            "west_before": [west - 360],
            "west_after": [west + 360],
            "south": [south],
            "across": [east - west],
            "up": [north - south],
        }

    def show_view(self, state: State) -> None:
        """Draw the lines that a view needs, and the area to search in."""
        lon, lat = lines_in(state.view)
        if len(lon) != len(self._layers.lines.data["lon"]) or not np.array_equal(
            lon, self._layers.lines.data["lon"], equal_nan=True
        ):
            self._layers.lines.data = {"lon": lon, "lat": lat}
        if state.within != self._area_drawn:
            self._area_drawn = state.within
            east, north = rings_of(state.within) if state.within else ([], [])
            self._layers.area.data = {"lon": east, "lat": north}

    def show_pins(self, answer: Answer | None, view: View, size: tuple[int, int]) -> None:
        """Draw examples and answers; a number where it has room."""
        points = np.array(answer.points if answer else [], dtype=np.float64).reshape(-1, 2)
        signs = [("\N{MINUS SIGN}" if example.unlike else "+") for example in answer.state.examples] if answer else []
        self._layers.examples.data = _everywhere(points[:, 0], points[:, 1], sign=np.array(signs, dtype=object))
        if answer is None:
            self._layers.pins.data = {name: [] for name in self._layers.pins.data}
            return
        lon, lat = answer.places.lon, answer.places.lat
        both = np.concatenate([points, np.column_stack([lon, lat])])
        room = with_room(both[:, 0], both[:, 1], (_BIG + 2) * view.width / size[0])[len(points) :]
        numbers = np.where(room, answer.places.rank.astype(str).astype(object), "")
        last_first = np.s_[::-1]  # the best is drawn on top
        self._layers.pins.data = _everywhere(
            lon[last_first], lat[last_first], number=numbers[last_first], size=np.where(room, _BIG, _SMALL)[last_first]
        )

    def later(self, work: Callable[[], None]) -> None:
        """Do something on the event loop; called from any thread."""
        self._document.add_next_tick_callback(work)


def build_page(document: Document, *, desk: Desk, pool: Executor, slow: Executor, about: dict[str, Any]) -> None:
    """Make a new visitor's document: a page, and the session behind it."""
    page = Page(document)
    page.connect(Session(desk, pool, slow, page))
    document.title = "satclip-index: places like this one"
    document.template = _template()
    document.template_variables["about"] = about
    figure_of, channel = document.get_model_by_name("map"), document.get_model_by_name("channel")
    sketch = document.get_model_by_name("sketch")
    ready = CustomJS(
        args={"map": figure_of, "channel": channel, "sketch": sketch},
        code="window.dispatchEvent(new CustomEvent('map-ready', {detail: {map, channel, sketch}}))",
    )
    document.js_on_event("document_ready", ready)


@lru_cache(maxsize=1)
def _template() -> "Template":
    return Environment(loader=FileSystemLoader(WEB), autoescape=True).get_template("page.html")


def _everywhere(lon: Any, lat: Any, **columns: Any) -> dict[str, Any]:
    """Return points three times over: as far as a view of the whole Earth can be moved."""
    repeated = {name: list(values) * len(TURNS) for name, values in columns.items()}
    return {"lon": np.concatenate([lon + turn for turn in TURNS]), "lat": np.tile(lat, len(TURNS)), **repeated}
