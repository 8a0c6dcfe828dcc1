"""``satclip-index export``: an atlas as other programs keep such things."""

from typing import Annotated

import typer

from . import options
from .opening import opened
from .render import progress_bar, say

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def export() -> None:
    """Write an atlas for another program to serve.

    Example: satclip-index export lance planet.lance
    """


@app.command()
def lance(
    destination: Annotated[
        str, typer.Argument(metavar="DEST", help="A folder, or a URL: s3://BUCKET/NAME, gs://..., az://...")
    ],
    res: Annotated[
        list[int] | None, typer.Option(help="H3 resolution; may be repeated.", show_default="all there are")
    ] = None,
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    force: Annotated[bool, typer.Option("--force", help="Replace such tables that are there.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Write LanceDB tables, one a resolution: cells, attributes, vectors, and indexes to search and filter by.

    Example: satclip-index export lance planet.lance

    Example, one resolution, to a bucket: satclip-index export lance s3://my-bucket/planet --res 4
    """
    from satclip_index.export.lancedb_tables import table_name

    found = opened(atlas, quiet=quiet)
    with progress_bar("Writing", "cells", quiet=quiet) as progress:
        found.to_lance(destination, res=res, force=force, progress=progress)
    finest = max(res or found.resolutions)
    say(f"Wrote {destination}. To ask it, in Python:", quiet=quiet)
    say(f'lancedb.connect("{destination}").open_table("{table_name(finest)}")', quiet=quiet)
