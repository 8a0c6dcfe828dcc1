"""The session of one page: handles requests, runs searches off the event loop, and shows the latest results."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import parse_qs

from ..errors import PlaceError, QueryError, SatclipIndexError
from ._answer_cache import Answer, AnswerCache, Picture
from ._messages import KINDS, describe_answer, describe_state, download
from ._state import LONGEST_LINK_AREA, RULES, Example, State, View, parse_number, read_area
from ._uploads import TableLoader
from ._user_table import Table
from ._view_geometry import rings_of

MOST_AREA_BYTES = 2_000_000
_LOG = logging.getLogger(__name__)
_INTERNAL_ERROR = "Internal error. Try again, or see the log of the server."
_OPTIONAL_RULES = ("res", "min")

Message = dict[str, Any]


class Screen(Protocol):
    """The page as seen by a session."""

    def send(self, message: Message) -> None:
        """Send a message to the page."""

    def show_picture(self, picture: Picture | None) -> None:
        """Draw a picture of similarity; remove it for None."""

    def show_view(self, state: State) -> None:
        """Draw the coastlines for a view, and the search area."""

    def show_pins(self, answer: Answer | None, view: View, size: tuple[int, int]) -> None:
        """Draw examples and results."""

    def later(self, work: Callable[[], None]) -> None:
        """Call a function on the event loop; thread-safe."""


class Session:
    """The state of one page.

    Parameters
    ----------
    answers : AnswerCache
        Shared by all sessions.
    pool : Executor
        Runs ordinary searches.
    slow : Executor
        Runs searches whose cost depends on user input: over a table, or a large area.
    screen : Screen
    """

    def __init__(self, answers: AnswerCache, pool: Executor, slow: Executor, screen: Screen) -> None:
        self._answers, self._pool, self._slow, self._screen = answers, pool, slow, screen
        self._state = self._last_valid = State()
        self._size = (800, 400)
        self._answer: Answer | None = None
        self._loader = TableLoader(slow)
        self._answer_table: Table | None = None  # the table when the answer was computed
        self._latest, self._latest_shown, self._closed = 0, 0, False
        self._handlers: dict[str, Callable[[Message], None]] = {
            "hello": self._hello,
            "view": self._set_view,
            "add": self._add,
            "remove": self._remove,
            "weigh": self._set_weight,
            "set": self._set_rule,
            "area": self._set_area,
            "part": self._receive_part,
            "drop table": self._drop_table,
            "clear": self._clear,
            "at": self._send_point,
            "download": self._download,
        }

    def handle(self, text: str) -> None:
        """Handle a message of the page; errors are sent to the page."""
        number: Any = None
        try:
            message = json.loads(text)
            number = message.get("n")
            self._handlers[message["do"]](message)
        except SatclipIndexError as error:
            self._send_error(str(error), number)
        except Exception:
            _LOG.exception("A message of the page could not be handled")
            self._send_error(_INTERNAL_ERROR, number)

    def close(self) -> None:
        """Remove uploaded files."""
        self._closed = True
        self._latest += 1
        self._loader.close()

    def _hello(self, message: Message) -> None:
        self._size = _size_of(message)
        try:
            state = State.of_link(parse_qs(str(message.get("link", "")).removeprefix("?"), max_num_fields=200))
            if state.within:
                rings_of(state.within)
        except (SatclipIndexError, ValueError) as error:
            self._send_error(f"The link is invalid: {error}", None)
            state = State()
        if state.table or state.where:
            name = state.table or "a table"
            self._send_error(f"The link refers to {name}: load that file to search among its rows.", None)
            state = replace(state, table="", where="")
        self._update(state, message)

    def _set_view(self, message: Message) -> None:
        self._size = _size_of(message)
        view = View(*(float(parse_number("at", side)) for side in message["at"]))
        self._update(replace(self._state, view=view), message)

    def _add(self, message: Message) -> None:
        example = Example.of(str(message["place"]), unlike=bool(message.get("unlike")))
        self._update(replace(self._state, examples=(*self._state.examples, example)), message)

    def _remove(self, message: Message) -> None:
        kept = [example for i, example in enumerate(self._state.examples) if i != message["i"]]
        self._update(replace(self._state, examples=tuple(kept)), message)

    def _set_weight(self, message: Message) -> None:
        examples = list(self._state.examples)
        weight = float(parse_number("weight", message["weight"]))
        examples[message["i"]] = replace(examples[message["i"]], weight=weight)
        self._update(replace(self._state, examples=tuple(examples)), message)

    def _set_rule(self, message: Message) -> None:
        name, value = message["name"], message["value"]
        if name == "ocean":
            changed = replace(self._state, ocean=bool(value))
        elif name == "where":
            changed = replace(self._state, where=str(value).strip())
        else:
            none = name in _OPTIONAL_RULES and value in (None, "")
            rule: dict[str, Any] = {RULES[name]: None if none else parse_number(name, value)}
            changed = replace(self._state, **rule)
        self._update(changed, message)

    def _set_area(self, message: Message) -> None:
        text, name = str(message.get("text", "")), str(message.get("name", ""))
        if len(text) > MOST_AREA_BYTES:
            raise PlaceError(f"{name} is larger than {MOST_AREA_BYTES // 1_000_000} MB; simplify the area.")
        if text:
            document = read_area(text)
            text = json.dumps(document, separators=(",", ":"))
        self._update(replace(self._state, within=text, within_name=name if text else ""), message)

    def _receive_part(self, message: Message) -> None:
        if read := self._loader.receive(message):
            self._work(self._slow, read, lambda table: self._use_table(table, message), message)

    def _use_table(self, table: Table | None, message: Message) -> None:
        if table is None:
            return
        self._loader.keep(table)
        self._screen.send({"kind": "table", "name": table.name, "columns": table.columns})
        self._update(replace(self._state, table=table.name, where=""), message)

    def _drop_table(self, message: Message) -> None:
        self._loader.drop()
        self._update(replace(self._state, table="", where=""), message)

    def _clear(self, message: Message) -> None:
        self._loader.drop()
        self._update(State(view=self._state.view), message)

    def _send_point(self, message: Message) -> None:
        if self._answer is None:
            return
        lon, lat = (float(parse_number(side, message[side])) for side in ("lon", "lat"))
        self._screen.send({"kind": "at", "n": message.get("n"), **self._answers.at(self._answer, lon, lat)})

    def _download(self, message: Message) -> None:
        kind = str(message["kind"])
        if self._answer is None or kind not in KINDS:
            raise QueryError("There are no results to download. Click on the map, or type a place.")
        text = download(self._answer, kind)
        self._screen.send({"kind": "file", "name": f"like.{kind}", "type": KINDS[kind], "text": text})

    def _update(self, state: State, message: Message) -> None:
        """Set a new state, and compute and show its results; pending requests for older states are dropped."""
        self._state = state
        self._latest += 1
        request, size, table = self._latest, self._size, self._loader.table
        number = message.get("n")
        if not state.examples and not state.within:
            self._show(request, state, None, None, number)
            return
        last = self._answer if self._answer_table is table else None

        def work() -> tuple[Answer | None, Picture | None] | None:
            if request != self._latest:
                return None
            if state.within:
                rings_of(state.within)  # cached for drawing on the event loop
            if not state.examples:
                return None, None
            if last is not None and last.state.question == state.question:
                answer = replace(last, state=state)
            else:
                answer = self._answers.answer(state, table if state.table else None)
            return answer, self._answers.picture(answer, state.view, size)

        def show(result: tuple[Answer | None, Picture | None] | None) -> None:
            if result is not None:
                self._answer_table = table
                self._show(request, state, *result, number)

        def revert() -> None:
            if request == self._latest:
                self._state = replace(self._last_valid, view=state.view)
                if not self._latest_shown:  # an invalid link opens an empty page
                    self._show(request, self._state, None, None, number)

        costly = state.table or len(state.within) > LONGEST_LINK_AREA
        self._work(self._slow if costly else self._pool, work, show, message, revert)

    def _work(
        self,
        pool: Executor,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        message: Message,
        otherwise: Callable[[], None] = lambda: None,
    ) -> None:
        """Run work in a pool, and pass its result to ``then`` on the event loop; on an error call ``otherwise``."""
        number = message.get("n")

        def run() -> None:
            try:
                result = work()
            except SatclipIndexError as error:
                message_text = str(error)
            except Exception:
                _LOG.exception("A search failed")
                message_text = _INTERNAL_ERROR
            else:
                self._screen.later(lambda: finish(result))
                return
            self._screen.later(lambda: fail(message_text))

        def finish(result: Any) -> None:
            try:
                then(result)
            except Exception:
                _LOG.exception("Results could not be shown")
                fail(_INTERNAL_ERROR)

        def fail(text: str) -> None:
            otherwise()
            self._send_error(text, number)

        pool.submit(run)

    def _show(self, request: int, state: State, answer: Answer | None, picture: Picture | None, number: Any) -> None:
        if request < self._latest_shown or self._closed:
            return
        same = answer is not None and self._answer is not None and answer.places is self._answer.places
        self._latest_shown, self._answer, self._last_valid = request, answer, state
        self._screen.show_picture(picture)
        self._screen.show_view(state)
        self._screen.show_pins(answer, state.view, self._size)
        response: Message = {"kind": "state", "n": number} | describe_state(state, self._answers.name)
        if answer is not None and not same:
            response |= {"answer": describe_answer(answer, self._answers.scale(answer))}
        elif answer is None:
            response |= {"answer": None}
        if picture is not None:
            response |= {"res": picture.res}
        self._screen.send(response)

    def _send_error(self, text: str, number: Any) -> None:
        self._screen.send({"kind": "error", "n": number, "text": text})


def _size_of(message: Message) -> tuple[int, int]:
    """Return the size of the map in pixels, (width, height)."""
    width, height = (int(parse_number("size", side)) for side in message["size"])
    return max(width, 1), max(height, 1)
