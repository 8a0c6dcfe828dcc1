"""``satclip-index sql``."""

import sys
from typing import Annotated

import typer

from . import options
from .render import choose_format, show_rows


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="SQL, or - to read it from standard input.")],
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    out: options.Out = None,
) -> None:
    """Ask DuckDB about the atlas: view cells has res, cell, lon, lat, land, norm and embedding.

    Files are tables by their name in quotes.

    Example: satclip-index sql "SELECT res, count(*) AS n, avg(land::INT) AS land FROM cells GROUP BY res"
    """
    from satclip_index.sql import Answer, connect

    kind = choose_format(format, out)
    answer = Answer(connect(atlas), sys.stdin.read() if query == "-" else query)
    show_rows(answer.rows(), answer.to_arrow_reader, kind=kind, out=out, limit=40)
