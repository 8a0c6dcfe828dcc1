"""The page as a Bokeh document: the map, and a channel for messages."""

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

from ._answer_cache import Answer, AnswerCache, Picture
from ._bokeh_layers import Layers, map_figure
from ._session import Message, Session
from ._state import State, View
from ._view_geometry import TURNS, lines_in, rings_of, with_room

if TYPE_CHECKING:
    from jinja2 import Template

WEB = Path(__file__).with_name("web")
_BIG, _SMALL = 22, 9  # diameter in pixels of a pin with a number, and of one without


class Channel(DataModel):
    """JSON messages between the page and the server: the page sets ``request``, the server ``response``."""

    request: Any = String(default="")
    response: Any = String(default="")


class Page:
    """The screen of a session, in a Bokeh document.

    Parameters
    ----------
    document : Document
    """

    def __init__(self, document: Document) -> None:
        self._document, self._sent = document, 0
        self._channel = Channel(name="channel")
        self._layers = Layers()
        self._picture: Any = None
        self._area_drawn = ""
        document.add_root(map_figure(self._layers))
        document.add_root(self._channel)

    def connect(self, session: Session) -> None:
        """Connect requests of the page to a session."""
        self._channel.on_change("request", lambda _, __, text: session.handle(text))
        self._document.on_session_destroyed(lambda _: session.close())

    def send(self, message: Message) -> None:
        """Send a message to the page."""
        self._sent += 1  # Bokeh would not send the same text twice
        self._channel.response = json.dumps(message | {"message": self._sent})

    def show_picture(self, picture: Picture | None) -> None:
        """Draw a picture of similarity; remove it for None."""
        if picture is self._picture:
            return
        self._picture = picture
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
        """Draw the coastlines for a view, and the search area."""
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
        """Draw examples and results, with rank numbers where they do not overlap."""
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
        last_first = np.s_[::-1]  # so that the best is on top
        self._layers.pins.data = _everywhere(
            lon[last_first], lat[last_first], number=numbers[last_first], size=np.where(room, _BIG, _SMALL)[last_first]
        )

    def later(self, work: Callable[[], None]) -> None:
        """Call a function on the event loop; thread-safe."""
        self._document.add_next_tick_callback(work)


def build_page(
    document: Document, *, answers: AnswerCache, pool: Executor, slow: Executor, about: dict[str, Any]
) -> None:
    """Fill the document of a new visitor with a page and its session."""
    page = Page(document)
    page.connect(Session(answers, pool, slow, page))
    document.title = "satclip-index: places like this one"
    document.template = _template()
    document.template_variables["about"] = about
    plot, channel = document.get_model_by_name("map"), document.get_model_by_name("channel")
    sketch = document.get_model_by_name("sketch")
    ready = CustomJS(
        args={"map": plot, "channel": channel, "sketch": sketch},
        code="window.dispatchEvent(new CustomEvent('map-ready', {detail: {map, channel, sketch}}))",
    )
    document.js_on_event("document_ready", ready)


@lru_cache(maxsize=1)
def _template() -> "Template":
    return Environment(loader=FileSystemLoader(WEB), autoescape=True).get_template("page.html")


def _everywhere(lon: Any, lat: Any, **columns: Any) -> dict[str, Any]:
    """Return points repeated at -360, 0 and 360 degrees: the range of a view of the whole Earth."""
    repeated = {name: list(values) * len(TURNS) for name, values in columns.items()}
    return {"lon": np.concatenate([lon + turn for turn in TURNS]), "lat": np.tile(lat, len(TURNS)), **repeated}
