"""An interactive SQL shell with multi-line statements, completion and a persistent history."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

from satclip_index.errors import SatclipIndexError, one_line

from .render import complain, say

if TYPE_CHECKING:
    from satclip_index.database import Connection

_FIRST, _MORE = "satclip> ", "    ...> "
_HISTORY_LINES = 2000
_WELCOME = """View cells: res, cell, lon, lat, land, norm, embedding. Table function: places_like(lon, lat).
End statements with a semicolon. .tables lists tables and views, .help lists functions, .exit or Ctrl-D quits."""
_HELP = """Query a file by its quoted name: SELECT * FROM 'mine.csv';
places_like(lon, lat, k := 10, res := NULL, exclude_within_km := 500, apart_km := 300, ocean := false, "where" := NULL)
satclip_cell(lon, lat)  satclip_embedding(cell)  satclip_embed(lon, lat)  satclip_similarity(embedding, embedding)
satclip_percentile(similarity)  satclip_distance_km(lon, lat, lon, lat)
h3_latlng_to_cell(lat, lng, res)  h3_cell_to_parent(cell, res)  h3_cell_to_lat(cell)  h3_cell_to_lng(cell)
h3_get_resolution(cell)  h3_h3_to_string(cell)  h3_string_to_h3(text)"""
_TABLES = "SELECT database, name, column_names AS columns FROM (SHOW ALL TABLES) ORDER BY ALL;"


def run_shell(connection: "Connection", execute: Callable[[str], None]) -> None:
    """Read statements from a terminal and run each, until the input ends; an error ends only its statement.

    Parameters
    ----------
    connection : Connection
        Its tables, columns and functions are completed with the Tab key.
    execute : function of str
        Runs a statement and prints its result.
    """
    say(_WELCOME)
    with _Readline(connection):
        statement = ""
        while True:
            try:
                statement = _read_line(statement, execute)
            except EOFError:
                print()  # noqa: T201 (the prompt's own line ends)
                return
            except KeyboardInterrupt:
                print()  # noqa: T201
                statement = ""


def _read_line(statement: str, execute: Callable[[str], None]) -> str:
    """Read a line, run the statement if the line completes it, and return what is still incomplete.

    Raises EOFError to quit.
    """
    from satclip_index.database import is_complete

    line = input(_MORE if statement else _FIRST)
    if not statement:
        word = line.strip().rstrip(";")
        if word in (".exit", ".quit", "exit", "quit"):
            raise EOFError
        if word == ".help":
            say(_HELP)
            return ""
        line = _TABLES if word == ".tables" else line
    statement = f"{statement}\n{line}" if statement else line
    if is_complete(statement):
        _run(execute, statement)
        return ""
    return statement if statement.strip() else ""


def run_interruptibly(work: Callable[[], None], interrupt: Callable[[], None]) -> None:
    """Run work in its own thread: the main thread, waiting for DuckDB, would not receive Ctrl-C."""
    with ThreadPoolExecutor(1) as worker:
        done: Future[None] | None = None
        try:
            done = worker.submit(work)
            done.result()
        except KeyboardInterrupt:
            while done and not done.done():  # a statement that has not started yet ignores the first interrupt
                interrupt()
                wait([done], timeout=0.1)
            raise


def _run(execute: Callable[[str], None], statement: str) -> None:
    try:
        execute(statement)
    except SatclipIndexError as error:
        complain(str(error))
    except KeyboardInterrupt:
        say("Interrupted.")


class _Readline:
    """Line editing, completion and history, where Python has readline."""

    def __init__(self, connection: "Connection") -> None:
        self._words = _words(connection)
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        self._history = Path(state) / "satclip-index" / "sql_history"

    def __enter__(self) -> None:
        try:
            import readline
        except ImportError:
            return
        readline.set_completer(self._complete)
        readline.set_completer_delims(" \t\n,;()'=")
        readline.parse_and_bind("tab: complete")
        readline.clear_history()
        readline.set_history_length(_HISTORY_LINES)
        if self._history.is_file():
            readline.read_history_file(self._history)

    def __exit__(self, *_: object) -> None:
        try:
            import readline

            self._history.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(self._history)
        except (ImportError, OSError) as error:
            say(f"The history could not be saved: {one_line(error)}.")

    def _complete(self, text: str, number: int) -> str | None:
        matching = [word for word in self._words if word.startswith(text.lower())]
        return matching[number] if number < len(matching) else None


def _words(connection: "Connection") -> list[str]:
    query = """
        SELECT function_name FROM duckdb_functions() WHERE NOT internal AND function_name NOT LIKE '\\_%' ESCAPE '\\'
        UNION SELECT column_name FROM duckdb_columns() WHERE NOT internal
        UNION SELECT view_name FROM duckdb_views() WHERE NOT internal
        UNION SELECT table_name FROM duckdb_tables() UNION SELECT lower(keyword_name) FROM duckdb_keywords()"""
    return sorted(name for (name,) in connection.execute(query).fetchall())
