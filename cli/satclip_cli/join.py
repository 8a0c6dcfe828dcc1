"""``satclip-index join``."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satclip_index.errors import OutputError

from . import options
from .opening import opened
from .render import choose_format, progress_bar, say, show_rows

if TYPE_CHECKING:
    from satclip_index.tables.joined_table import Joined

_SQL = re.compile(r"\s*(?:SELECT|FROM|WITH|VALUES|TABLE|DESCRIBE|SUMMARIZE|PIVOT|UNPIVOT|\()\s", re.IGNORECASE)

TABLE_HELP = "CSV, TSV, Parquet, GeoParquet, JSON, JSON lines or GeoJSON; or a query: SELECT ... FROM 'FILE'."
Lon = Annotated[str | None, typer.Option(metavar="COLUMN", help="The table's longitudes.", show_default="found")]
Lat = Annotated[str | None, typer.Option(metavar="COLUMN", help="The table's latitudes.", show_default="found")]
Cell = Annotated[str | None, typer.Option(metavar="COLUMN", help="The table's H3 cells.", show_default="found")]
Strict = Annotated[bool, typer.Option("--strict", help="A row that has no place on Earth is an error.")]


def join(
    table: Annotated[str, typer.Argument(metavar="TABLE", help=TABLE_HELP)],
    lon: Lon = None,
    lat: Lat = None,
    cell: Cell = None,
    res: Annotated[int | None, typer.Option(help="H3 resolution.", show_default="the finest there is")] = None,
    embedding: Annotated[
        str | None,
        typer.Option(help="list, columns or none.", show_default="list; none with --components"),
    ] = None,
    components: Annotated[
        int | None, typer.Option(metavar="N", help="Add the first N principal components, pc_01 and on.")
    ] = None,
    like: Annotated[
        list[str] | None, typer.Option(metavar="PLACE", help="Add the similarity to this place; may be repeated.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Embed each point itself, instead of the centre of its cell.")
    ] = False,
    descendants: Annotated[
        bool, typer.Option("--descendants", help="Repeat a row of a coarser cell for each of its descendants.")
    ] = False,
    geometry: Annotated[
        str | None,
        typer.Option(help="point, polygon or none.", show_default="point in Parquet and GeoJSON"),
    ] = None,
    strict: Strict = False,
    device: options.Device = "auto",
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Add to every row of a table what the atlas knows of its place.

    All rows and columns stay as they are, in their order. After them come the cell, the embedding and what else is
    asked for; a name that the table has already gets the prefix satclip_. A row that has no place keeps its columns,
    has nothing in ours, and is counted.

    Example: satclip-index join stations.csv -o joined.parquet

    Example, 16 numbers instead of 256: satclip-index join stations.csv --components 16 -o joined.csv

    Example, how alike each row is to a place: satclip-index join stations.csv --like Nairobi --embedding none

    Example, of a query: satclip-index join "SELECT * FROM 'stations.csv' WHERE lat > 0" -o north.parquet
    """
    found = opened(atlas, quiet=quiet)
    asked: dict[str, Any] = {"lon": lon, "lat": lat, "cell": cell, "res": res, "exact": exact, "strict": strict}
    asked |= {"embedding": embedding, "components": components, "like": like or [], "geometry": geometry}
    joined = found.join(table_of(table, found), **asked, descendants=descendants, device=device)
    for number, place in enumerate(joined.like, 1):
        say(f"similarity{f'_{number}' if len(joined.like) > 1 else ''}: {place}", quiet=quiet)
    show_joined(joined, format=format, out=out, quiet=quiet)


def table_of(text: str, atlas: Any = None) -> Any:
    """Return the file that a text names, or the answer to the query that it is: of the atlas too, if there is one."""
    if not _SQL.match(text) or os.path.isfile(text):  # noqa: PTH113 (Path's raises on long names)
        return text
    from satclip_index.database import Answer, open_database
    from satclip_index.sql.connection import connect

    return Answer(open_database() if atlas is None else connect(atlas), text).to_arrow_reader()


def show_joined(joined: "Joined", *, format: str | None, out: Path | None, quiet: bool) -> None:
    """Write a table with its columns to a file or to stdout, and say which rows have no place."""
    kind = choose_format(format, out)
    if kind == "table":
        rows = (row for batch in joined.to_reader() for row in batch.to_pylist())
        show_rows(rows, joined.to_reader, kind=kind, out=out, limit=40)
    elif kind == "parquet" and out is None and sys.stdout.isatty():
        raise OutputError("Parquet is not for a terminal; name a file with -o, or pipe it.")
    else:
        with progress_bar("Joining", "rows", quiet=quiet) as progress:
            joined.write(sys.stdout.buffer if out is None else out, kind, progress=progress)
        sys.stdout.flush()
    if remark := joined.remark():
        say(remark, quiet=quiet)
