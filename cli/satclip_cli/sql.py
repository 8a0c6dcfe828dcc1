"""``satclip-index sql``."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from satclip_index.errors import QueryError

from . import options
from .opening import opened
from .render import choose_format, progress_bar, say, show_rows
from .shell import run_interruptibly, run_shell

_TABLE_ROWS = 40


def sql(
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="SQL, or - to read it from standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the SQL from this file.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A value for $NAME: bound, never pasted in."),
    ] = None,
    safe: Annotated[
        bool, typer.Option("--safe", help="For SQL that is not your own: no files, no network, no extensions.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write cells and macros as a DuckDB file that stands alone.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --save: replace such a file.")] = False,
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    out: options.Out = None,
) -> None:
    """Ask DuckDB about the atlas, beside your own files.

    View cells has res, cell, lon, lat, land, norm and embedding; places_like(lon, lat, k := 10) is a table, also in a
    LATERAL join; files are tables by their name in quotes. Without a QUERY, on a terminal, it is a prompt.

    Example: satclip-index sql "SELECT res, count(*) AS n, avg(land::INT) AS land FROM cells GROUP BY res"

    Example, for every row of a table: satclip-index sql "FROM 'cities.csv' t, places_like(t.lon, t.lat, k := 3) p"

    Example, a file that any DuckDB opens: satclip-index sql --save geo.duckdb

    Example, with values: satclip-index sql 'FROM places_like($lon, $lat)' -p lon=36.8 -p lat=-1.3
    """
    from satclip_index.sql.connection import Answer, connect

    if save is not None:
        if query is not None or file is not None:
            raise typer.BadParameter("It takes no QUERY: it writes a file to be asked later.", param_hint="--save")
        _save(atlas, save, force)
        return
    kind, values = choose_format(format, out), _values(param or [])
    text = _text(query, file)
    connection = connect(opened(atlas), safe=safe)

    def ask(statement: str) -> None:
        def answer() -> None:
            found = Answer(connection, statement, values)
            show_rows(found.rows(), found.to_arrow_reader, kind=kind, out=out, limit=_TABLE_ROWS)

        run_interruptibly(answer, connection.interrupt)

    if text is None:
        run_shell(connection, ask)
    else:
        ask(text)


def _save(atlas: str, path: Path, force: bool) -> None:
    found = opened(atlas)
    with progress_bar("Writing", "cells", quiet=False) as progress:
        found.to_duckdb(path, force=force, progress=progress)
    say(f"Wrote {path}, {path.stat().st_size / 1e6:,.0f} MB. To ask it, in any DuckDB:")
    say(f"ATTACH '{path}' AS geo; FROM geo.places_like(36.8, -1.3);")


def _text(query: str | None, file: Path | None) -> str | None:
    """Return the SQL that was given; None where a person is to type it."""
    if file is not None:
        if query is not None:
            raise typer.BadParameter("Give a QUERY or a file of SQL, not both.", param_hint="--file")
        try:
            return file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise QueryError(f"{file} cannot be read as SQL: {getattr(error, 'strerror', None) or error}.") from None
    if query == "-" or (query is None and not sys.stdin.isatty()):
        return sys.stdin.read()
    return query


def _values(given: list[str]) -> dict[str, Any]:
    """Return parameters by name: numbers, true, false, null and lists as JSON has them, all else as text."""
    values = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"{item!r}: expected NAME=VALUE, such as k=10.", param_hint="--param")
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values
