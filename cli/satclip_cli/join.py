"""``satclip-index join``."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from satclip_index.formats.rows import plain_rows

from . import options
from .opening import open_local
from .output import open_output
from .render import choose_format, progress_bar, say, show_table

if TYPE_CHECKING:
    from satclip_index.tables.joined_table import Joined

_TABLE_ROWS = 40
_SQL = re.compile(r"\s*(?:SELECT|FROM|WITH|VALUES|TABLE|DESCRIBE|SUMMARIZE|PIVOT|UNPIVOT|\()\s", re.IGNORECASE)

TABLE_HELP = (
    "CSV, TSV, Parquet, GeoParquet, JSON, JSON Lines or GeoJSON file, or an SQL query such as \"SELECT * FROM 'FILE'\"."
)


def join(
    table: Annotated[str, typer.Argument(metavar="TABLE", help=TABLE_HELP)],
    lon: options.Lon = None,
    lat: options.Lat = None,
    cell: options.Cell = None,
    res: options.Res = None,
    embedding: Annotated[
        str | None,
        typer.Option(
            help="How embeddings are added: list (one column), columns (one per dimension) or none.",
            show_default="list; none with --components",
        ),
    ] = None,
    components: Annotated[
        int | None, typer.Option(metavar="N", help="Add the first N principal components, as columns pc_01, pc_02, ...")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", help="Add the similarity of each row to this place. Can be repeated."),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Encode the exact location of each row instead of the center of its cell.")
    ] = False,
    descendants: Annotated[
        bool, typer.Option("--descendants", help="For cells coarser than --res: one row per descendant cell.")
    ] = False,
    geometry: Annotated[
        str | None,
        typer.Option(help="Geometry column: point, polygon or none.", show_default="point in Parquet and GeoJSON"),
    ] = None,
    strict: options.Strict = False,
    device: options.Device = "auto",
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Join a table with the atlas: add the cell and embedding of each row's location.

    Rows and columns of the table keep their order; new columns follow them. A new column whose name is taken gets the
    prefix satclip_. Rows without a valid location get NULL in the new columns, and are counted.

    Example: satclip-index join stations.csv -o joined.parquet

    Example, principal components instead: satclip-index join stations.csv --components 16 -o joined.csv

    Example, the similarity of each row to a place: satclip-index join stations.csv --like Nairobi --embedding none

    Example, from a query: satclip-index join "SELECT * FROM 'stations.csv' WHERE lat > 0" -o north.parquet
    """
    source = open_local(atlas, quiet=quiet)
    settings: dict[str, Any] = {"lon": lon, "lat": lat, "cell": cell, "res": res, "exact": exact, "strict": strict}
    settings |= {"embedding": embedding, "components": components, "like": like or [], "geometry": geometry}
    joined = source.join(table_of(table, source), **settings, descendants=descendants, device=device)
    for number, place in enumerate(joined.like, 1):
        say(f"similarity{f'_{number}' if len(joined.like) > 1 else ''}: {place}", quiet=quiet)
    show_joined(joined, format=format, out=out, quiet=quiet)


def table_of(text: str, atlas: Any = None) -> Any:
    """Return a file name as it is, or the rows of an SQL query, which can also read the views of an atlas."""
    if not _SQL.match(text) or os.path.isfile(text):  # noqa: PTH113 (Path's raises on long names)
        return text
    from satclip_index.database import Answer, open_database
    from satclip_index.sql.connection import connect

    return Answer(open_database() if atlas is None else connect(atlas), text).to_arrow_reader()


def show_joined(joined: "Joined", *, format: str | None, out: Path | None, quiet: bool) -> None:
    """Write a joined table to a file or to stdout, and report the rows without a location."""
    kind = choose_format(format, out)
    if kind == "table":
        show_table(plain_rows(joined.to_reader()), out, limit=None if out else _TABLE_ROWS)
    elif out:
        with progress_bar("Joining", "rows", quiet=quiet) as progress:
            joined.write(out, kind, progress=progress)
    else:
        with open_output(None, kind) as file, progress_bar("Joining", "rows", quiet=quiet) as progress:
            joined.write(file, kind, progress=progress)
    if remark := joined.remark():
        say(remark, quiet=quiet)
