"""``satclip-index like``."""

from typing import Annotated

import typer

from . import options
from .render import choose_format, say, show_rows


def like(
    places: Annotated[
        list[str],
        typer.Argument(metavar="PLACE", help="A city, an H3 cell, lon,lat, or a GeoJSON file; of several, the mean."),
    ],
    unlike: Annotated[list[str] | None, typer.Option(metavar="PLACE", help="What it should not be like.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many places.", min=1)] = 10,
    res: Annotated[int | None, typer.Option(help="H3 resolution.", show_default="the finest there is")] = None,
    exclude_within: Annotated[
        float, typer.Option(metavar="KM", help="None nearer than this to a PLACE.", min=0)
    ] = 500.0,
    apart: Annotated[float, typer.Option(metavar="KM", help="No two nearer than this to each other.", min=0)] = 300.0,
    ocean: Annotated[bool, typer.Option("--ocean", help="Let cells at sea be answers.")] = False,
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the places most like some examples, elsewhere.

    Example: satclip-index like Nairobi --unlike "São Paulo" -k 5

    Example, the plain nearest neighbours: satclip-index like 36.8,-1.3 --exclude-within 0 --apart 0 --ocean
    """
    from satclip_index import open_atlas

    kind = choose_format(format, out)
    neighbors = open_atlas(atlas).like(
        places, unlike=unlike or [], k=k, res=res, exclude_within_km=exclude_within, apart_km=apart, ocean=ocean
    )
    for role in ("like", "unlike"):
        for place in neighbors.query[role]:
            say(f"{role}: {place}", quiet=quiet)
    show_rows(neighbors.rows(), neighbors.to_arrow, kind=kind, out=out, query=neighbors.query)
    if len(neighbors) < k:
        say(
            f"Only {len(neighbors)} of {k} places qualify; loosen --apart or --exclude-within, or add --ocean.",
            quiet=quiet,
        )
