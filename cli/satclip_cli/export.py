"""``satclip-index export``."""

from typing import Annotated

import typer

from . import options
from .opening import open_local
from .render import progress_bar, say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def export() -> None:
    """Export an atlas to another database.

    Example: satclip-index export lance planet.lance
    """


@app.command()
def lance(
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST", help="Folder or URL to write to: planet.lance, s3://BUCKET/NAME, gs://... or az://..."
        ),
    ],
    res: Annotated[
        list[int] | None, typer.Option(help="H3 resolution. Repeat it for several.", show_default="all of the atlas")
    ] = None,
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    force: Annotated[bool, typer.Option("--force", help="Replace existing tables.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Export to LanceDB: one table per resolution, with cells, embeddings and indexes for search and filters.

    Example: satclip-index export lance planet.lance

    Example, one resolution, to a bucket: satclip-index export lance s3://my-bucket/planet --res 4
    """
    from satclip_index.export.lancedb_tables import table_name

    source = open_local(atlas, quiet=quiet)
    with progress_bar("Writing", "cells", quiet=quiet) as progress:
        source.to_lance(destination, res=res, force=force, progress=progress)
    finest = max(res or source.resolutions)
    say(f"Wrote {destination}. Query it in Python:", quiet=quiet)
    say(f'lancedb.connect("{destination}").open_table("{table_name(finest)}")', quiet=quiet)
