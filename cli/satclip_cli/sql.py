"""``satclip-index sql``."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from satclip_index.errors import QueryError, one_line

from . import options
from .opening import open_local
from .render import choose_format, progress_bar, say, show_answer
from .shell import run_interruptibly, run_shell

_TABLE_ROWS = 40


def sql(
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="QUERY",
            help="SQL statements, or - to read them from standard input. Without it, an interactive shell starts.",
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", metavar="FILE", help="Read SQL from this file.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="Value of the parameter $NAME, such as k=10. Can be repeated."
        ),
    ] = None,
    safe: Annotated[
        bool, typer.Option("--safe", help="For untrusted SQL: no access to files, network or extensions.")
    ] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the atlas to a DuckDB file that needs no satclip-index.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --save: replace an existing file.")] = False,
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    out: options.Out = None,
) -> None:
    """Query the atlas with SQL, together with your own files.

    View cells has res, cell, lon, lat, land, norm and embedding. Table function places_like(lon, lat, k := 10) also
    works in a LATERAL join. Files are tables by their quoted name. Without a QUERY, an interactive shell starts.

    Example: satclip-index sql "SELECT res, count(*) AS n, avg(land::INT) AS land FROM cells GROUP BY res"

    Example, for every row of a table: satclip-index sql "FROM 'cities.csv' t, places_like(t.lon, t.lat, k := 3) p"

    Example, a file that any DuckDB can query: satclip-index sql --save geo.duckdb

    Example, with parameters: satclip-index sql 'FROM places_like($lon, $lat)' -p lon=36.8 -p lat=-1.3
    """
    from satclip_index.sql.connection import Answer, connect

    if save is not None:
        if query is not None or file is not None:
            raise typer.BadParameter("It cannot be combined with a QUERY or --file.", param_hint="--save")
        _save(atlas, save, force)
        return
    kind, parameters = choose_format(format, out), _parameters(param or [])
    text = _text(query, file)
    connection = connect(open_local(atlas), safe=safe)

    def execute(statement: str) -> None:
        def show() -> None:
            answer = Answer(connection, statement, parameters)
            show_answer(answer, kind=kind, out=out, limit=_TABLE_ROWS)

        run_interruptibly(show, connection.interrupt)

    if text is None:
        run_shell(connection, execute)
    else:
        execute(text)


def _save(atlas: str, path: Path, force: bool) -> None:
    source = open_local(atlas)
    with progress_bar("Writing", "cells", quiet=False) as progress:
        source.to_duckdb(path, force=force, progress=progress)
    say(f"Wrote {path}, {path.stat().st_size / 1e6:,.0f} MB. Query it from any DuckDB:")
    say(f"ATTACH '{path}' AS geo; FROM geo.places_like(36.8, -1.3);")


def _text(query: str | None, file: Path | None) -> str | None:
    """Return the SQL from the command line, a file or a pipe; None for the interactive shell."""
    if file is not None:
        if query is not None:
            raise typer.BadParameter("Give a QUERY or --file, not both.", param_hint="--file")
        try:
            return file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise QueryError(f"{file} cannot be read as SQL: {one_line(error)}.") from None
    if query == "-" or (query is None and not sys.stdin.isatty()):
        return sys.stdin.read()
    return query


def _parameters(items: list[str]) -> dict[str, Any]:
    """Return parameters by name: values that are JSON (numbers, true, null, lists) as such, all others as text."""
    parameters = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"{item!r}: expected NAME=VALUE, such as k=10.", param_hint="--param")
        try:
            parameters[name] = json.loads(text)
        except ValueError:
            parameters[name] = text
    return parameters
