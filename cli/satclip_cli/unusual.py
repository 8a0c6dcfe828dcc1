"""``satclip-index unusual``."""

from typing import Annotated

import typer

from . import options
from .opening import open_local
from .render import choose_format, progress_bar, say, show_places


def unusual(
    k: Annotated[int, typer.Option("-k", help="Number of results.", min=1)] = 10,
    every: Annotated[
        bool, typer.Option("--all", help="Return every cell, as an index of uniqueness; ignores -k and --apart.")
    ] = False,
    res: options.Res = None,
    beyond: Annotated[
        float, typer.Option(metavar="KM", help="Compare only with cells at least this far away, in km.", min=0)
    ] = 1000.0,
    apart: options.Apart = 300.0,
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
    """Find the most unusual places: those least similar to any place far away.

    Each cell is compared with every cell beyond a distance. Cells with the lowest similarity to their best match come
    first.

    Example: satclip-index unusual --res 3 -k 5

    Example, an index of uniqueness of all land: satclip-index unusual --res 3 --all -o uniqueness.parquet
    """
    kind = choose_format(format, out, geometry=geometry)
    source = open_local(atlas, quiet=quiet)
    with progress_bar("Comparing", "cells", quiet=quiet) as progress:
        answer = source.unusual(
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
