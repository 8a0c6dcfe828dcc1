"""One person's page: hears what is asked, has it answered off the event loop, and shows the newest answer."""

import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import parse_qs

from ..errors import PlaceError, QueryError, SatclipIndexError
from ._answer_cache import Answer, Desk, Picture
from ._messages import KINDS, describe_answer, describe_state, download
from ._state import LONGEST_LINK_AREA, RULES, Example, State, View, parse_number, read_area
from ._uploads import Loading
from ._user_table import Table
from ._view_geometry import rings_of

MOST_AREA_BYTES = 2_000_000
_LOG = logging.getLogger(__name__)
_SORRY = "Something went wrong here; it was not your doing. Try again, or see what the server's log says."
_MAY_BE_NONE = ("res", "min")

Message = dict[str, Any]


class Screen(Protocol):
    """What a session shows things on."""

    def say(self, message: Message) -> None:
        """Tell the page something."""

    def show_picture(self, picture: Picture | None) -> None:
        """Draw the similarity; nothing for None."""

    def show_view(self, state: State) -> None:
        """Draw the lines that a view needs, and the area to search in."""

    def show_pins(self, answer: Answer | None, view: View, size: tuple[int, int]) -> None:
        """Draw examples and answers."""

    def later(self, work: Callable[[], None]) -> None:
        """Do something on the event loop; called from any thread."""


class Session:
    """What one page asks and shows.

    Parameters
    ----------
    desk : Desk
        What all sessions share.
    pool : Executor
        Where questions are answered.
    slow : Executor
        Where those are whose cost a user can drive up: of a table, or of a large area.
    screen : Screen
    """

    def __init__(self, desk: Desk, pool: Executor, slow: Executor, screen: Screen) -> None:
        self._desk, self._pool, self._slow, self._screen = desk, pool, slow, screen
        self._state = self._good = State()
        self._size = (800, 400)
        self._answer: Answer | None = None
        self._loading = Loading(slow)
        self._searched: Table | None = None  # when the answer was found
        self._asked, self._shown, self._closed = 0, 0, False
        self._does: dict[str, Callable[[Message], None]] = {
            "hello": self._hello,
            "view": self._look,
            "add": self._add,
            "remove": self._remove,
            "weigh": self._weigh,
            "set": self._set,
            "area": self._search_in,
            "part": self._receive,
            "drop table": self._drop_table,
            "clear": self._clear,
            "at": self._tell_at,
            "download": self._download,
        }

    def hear(self, text: str) -> None:
        """Do what a message of the page says; whatever is wrong with it is told to the page."""
        number: Any = None
        try:
            message = json.loads(text)
            number = message.get("n")
            self._does[message["do"]](message)
        except SatclipIndexError as error:
            self._complain(str(error), number)
        except Exception:
            _LOG.exception("A message of the page was not understood")
            self._complain(_SORRY, number)

    def close(self) -> None:
        """Remove what the person loaded."""
        self._closed = True
        self._asked += 1
        self._loading.close()

    def _hello(self, message: Message) -> None:
        self._size = _size_of(message)
        try:
            state = State.of_link(parse_qs(str(message.get("link", "")).removeprefix("?"), max_num_fields=200))
            if state.within:
                rings_of(state.within)
        except (SatclipIndexError, ValueError) as error:
            self._complain(f"The link was not understood: {error}", None)
            state = State()
        if state.table or state.where:
            wanted = state.table or "a table"
            self._complain(f"The link speaks of {wanted}: load that file to search among its rows.", None)
            state = replace(state, table="", where="")
        self._ask(state, message)

    def _look(self, message: Message) -> None:
        self._size = _size_of(message)
        view = View(*(float(parse_number("at", side)) for side in message["at"]))
        self._ask(replace(self._state, view=view), message)

    def _add(self, message: Message) -> None:
        example = Example.of(str(message["place"]), unlike=bool(message.get("unlike")))
        self._ask(replace(self._state, examples=(*self._state.examples, example)), message)

    def _remove(self, message: Message) -> None:
        kept = [example for i, example in enumerate(self._state.examples) if i != message["i"]]
        self._ask(replace(self._state, examples=tuple(kept)), message)

    def _weigh(self, message: Message) -> None:
        examples = list(self._state.examples)
        weight = float(parse_number("weight", message["weight"]))
        examples[message["i"]] = replace(examples[message["i"]], weight=weight)
        self._ask(replace(self._state, examples=tuple(examples)), message)

    def _set(self, message: Message) -> None:
        name, value = message["name"], message["value"]
        if name == "ocean":
            changed = replace(self._state, ocean=bool(value))
        elif name == "where":
            changed = replace(self._state, where=str(value).strip())
        else:
            none = name in _MAY_BE_NONE and value in (None, "")
            rule: dict[str, Any] = {RULES[name]: None if none else parse_number(name, value)}
            changed = replace(self._state, **rule)
        self._ask(changed, message)

    def _search_in(self, message: Message) -> None:
        text, name = str(message.get("text", "")), str(message.get("name", ""))
        if len(text) > MOST_AREA_BYTES:
            raise PlaceError(f"{name} is larger than {MOST_AREA_BYTES // 1_000_000} MB; simplify the area.")
        if text:
            document = read_area(text)
            text = json.dumps(document, separators=(",", ":"))
        self._ask(replace(self._state, within=text, within_name=name if text else ""), message)

    def _receive(self, message: Message) -> None:
        if read := self._loading.receive(message):
            self._work(self._slow, read, lambda table: self._search_among(table, message), message)

    def _search_among(self, table: Table | None, message: Message) -> None:
        if table is None:
            return
        self._loading.keep(table)
        self._screen.say({"kind": "table", "name": table.name, "columns": table.columns})
        self._ask(replace(self._state, table=table.name, where=""), message)

    def _drop_table(self, message: Message) -> None:
        self._loading.drop()
        self._ask(replace(self._state, table="", where=""), message)

    def _clear(self, message: Message) -> None:
        self._loading.drop()
        self._ask(State(view=self._state.view), message)

    def _tell_at(self, message: Message) -> None:
        if self._answer is None:
            return
        lon, lat = (float(parse_number(side, message[side])) for side in ("lon", "lat"))
        self._screen.say({"kind": "at", "n": message.get("n"), **self._desk.at(self._answer, lon, lat)})

    def _download(self, message: Message) -> None:
        kind = str(message["kind"])
        if self._answer is None or kind not in KINDS:
            raise QueryError("There is nothing to download yet; click on the map, or type a place.")
        text = download(self._answer, kind)
        self._screen.say({"kind": "file", "name": f"like.{kind}", "type": KINDS[kind], "text": text})

    def _ask(self, state: State, message: Message) -> None:
        """Have a state answered and shown; what was asked before and has not begun is left."""
        self._state = state
        self._asked += 1
        asked, size, table = self._asked, self._size, self._loading.table
        number = message.get("n")
        if not state.examples and not state.within:
            self._show(asked, state, None, None, number)
            return
        last = self._answer if self._searched is table else None

        def work() -> tuple[Answer | None, Picture | None] | None:
            if asked != self._asked:
                return None
            if state.within:
                rings_of(state.within)  # kept for when it is drawn, on the event loop
            if not state.examples:
                return None, None
            if last is not None and last.state.question == state.question:
                answer = replace(last, state=state)
            else:
                answer = self._desk.answer(state, table if state.table else None)
            return answer, self._desk.picture(answer, state.view, size)

        def show(made: tuple[Answer | None, Picture | None] | None) -> None:
            if made is not None:
                self._searched = table
                self._show(asked, state, *made, number)

        def take_back() -> None:
            if asked == self._asked:
                self._state = replace(self._good, view=state.view)
                if not self._shown:  # a link that cannot be answered opens an empty page
                    self._show(asked, self._state, None, None, number)

        costly = state.table or len(state.within) > LONGEST_LINK_AREA
        self._work(self._slow if costly else self._pool, work, show, message, take_back)

    def _work(
        self,
        pool: Executor,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        message: Message,
        otherwise: Callable[[], None] = lambda: None,
    ) -> None:
        """Do something in the pool, and on the event loop what follows from it, or say what was wrong."""
        number = message.get("n")

        def run() -> None:
            try:
                done = work()
            except SatclipIndexError as error:
                complaint = str(error)
            except Exception:
                _LOG.exception("A question was not answered")
                complaint = _SORRY
            else:
                self._screen.later(lambda: finish(done))
                return
            self._screen.later(lambda: complain(complaint))

        def finish(done: Any) -> None:
            try:
                then(done)
            except Exception:
                _LOG.exception("An answer was not shown")
                complain(_SORRY)

        def complain(text: str) -> None:
            otherwise()
            self._complain(text, number)

        pool.submit(run)

    def _show(self, asked: int, state: State, answer: Answer | None, picture: Picture | None, number: Any) -> None:
        if asked < self._shown or self._closed:
            return
        same = answer is not None and self._answer is not None and answer.places is self._answer.places
        self._shown, self._answer, self._good = asked, answer, state
        self._screen.show_picture(picture)
        self._screen.show_view(state)
        self._screen.show_pins(answer, state.view, self._size)
        told: Message = {"kind": "state", "n": number} | describe_state(state, self._desk.name)
        if answer is not None and not same:
            told |= {"answer": describe_answer(answer, self._desk.scale(answer))}
        elif answer is None:
            told |= {"answer": None}
        if picture is not None:
            told |= {"res": picture.res}
        self._screen.say(told)

    def _complain(self, text: str, number: Any) -> None:
        self._screen.say({"kind": "error", "n": number, "text": text})


def _size_of(message: Message) -> tuple[int, int]:
    """Return the pixels of the map, (width, height)."""
    width, height = (int(parse_number("size", side)) for side in message["size"])
    return max(width, 1), max(height, 1)
