"""``satclip-index unusual``."""

from typing import Annotated

import typer

from . import options
from .opening import opened
from .render import choose_format, progress_bar, say, show_places


def unusual(
    k: Annotated[int, typer.Option("-k", help="How many places.", min=1)] = 10,
    every: Annotated[
        bool, typer.Option("--all", help="Every cell, as an index of uniqueness: sets -k and --apart.")
    ] = False,
    res: Annotated[int | None, typer.Option(help="H3 resolution.", show_default="the finest there is")] = None,
    beyond: Annotated[float, typer.Option(metavar="KM", help="A match is at least so far away.", min=0)] = 1000.0,
    apart: Annotated[float, typer.Option(metavar="KM", help="No two nearer than this to each other.", min=0)] = 300.0,
    within: options.Within = None,
    outside: options.Outside = None,
    bbox: options.Bbox = None,
    ocean: options.Ocean = False,
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    geometry: options.Geometry = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the places that are least like any other far away.

    Every cell is compared with every other that is beyond some distance; those whose best match is worst come first.

    Example: satclip-index unusual --res 3 -k 5

    Example, an index of uniqueness of all land: satclip-index unusual --res 3 --all -o uniqueness.parquet
    """
    kind = choose_format(format, out, geometry=geometry)
    found = opened(atlas, quiet=quiet)
    with progress_bar("Comparing", "cells", quiet=quiet) as progress:
        answer = found.unusual(
            k=None if every else k,
            res=res,
            beyond_km=beyond,
            apart_km=0.0 if every else apart,
            within=within,
            outside=outside,
            bbox=bbox,
            ocean=ocean,
            progress=progress,
        )
    say(f"Compared {answer.query['compared_cells']:,} cells of res {answer.query['res']}.", quiet=quiet)
    show_places(answer, geometry=geometry, kind=kind, out=out)
