"""``satclip-index like``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .opening import opened
from .render import choose_format, progress_bar, say, show_places


def like(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PLACE",
            help="A city, an H3 cell, lon,lat, or a GeoJSON file; with a weight, Nairobi:2. Of several, the mean.",
        ),
    ],
    unlike: Annotated[list[str] | None, typer.Option(metavar="PLACE", help="What it should not be like.")] = None,
    k: Annotated[
        int | None, typer.Option("-k", help="How many places.", min=1, show_default="10; all above a threshold")
    ] = None,
    res: Annotated[int | None, typer.Option(help="H3 resolution.", show_default="the finest there is")] = None,
    exclude_within: Annotated[
        float, typer.Option(metavar="KM", help="None nearer than this to a PLACE.", min=0)
    ] = 500.0,
    apart: Annotated[float, typer.Option(metavar="KM", help="No two nearer than this to each other.", min=0)] = 300.0,
    within: options.Within = None,
    outside: options.Outside = None,
    bbox: options.Bbox = None,
    ocean: options.Ocean = False,
    min_similarity: Annotated[float | None, typer.Option(help="Only what is at least so similar.")] = None,
    min_percentile: Annotated[
        float | None, typer.Option(help="Only what is more alike than so many per cent of random pairs of land.")
    ] = None,
    regions: Annotated[
        bool, typer.Option("--regions", help="Group matching cells into regions; alone, those of percentile 95.")
    ] = False,
    zoom: Annotated[
        int | None, typer.Option(help="Look for the best spot inside each answer, at this finer resolution.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="The candidates are the rows of this CSV, Parquet or JSON file.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only rows of the table of which this holds.")
    ] = None,
    lon: Annotated[str | None, typer.Option(metavar="COLUMN", help="The table's longitudes.")] = None,
    lat: Annotated[str | None, typer.Option(metavar="COLUMN", help="The table's latitudes.")] = None,
    cell: Annotated[str | None, typer.Option(metavar="COLUMN", help="The table's H3 cells.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each answer is like the example.")] = False,
    map: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="Also draw a map: a .png, .svg or .html file.")
    ] = None,
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    geometry: options.Geometry = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the places most like some examples, elsewhere.

    Example: satclip-index like Nairobi --unlike "São Paulo" -k 5

    Example, in South America: satclip-index like Nairobi --bbox=-82,-56,-34,13

    Example, among your own rows: satclip-index like Nairobi --table cities.csv --where "population > 1e6"

    Example, their cells for a map: satclip-index like Nairobi --geometry polygon -o like.geojson

    Example, with a map to zoom in: satclip-index like Nairobi --map like.html

    Example, the plain nearest neighbours: satclip-index like 36.8,-1.3 --exclude-within 0 --apart 0 --ocean
    """
    kind = choose_format(format, out, geometry=geometry)
    if map:
        _check_map(map)
    asked: dict[str, Any] = {"unlike": unlike or [], "res": res, "exclude_within_km": exclude_within, "ocean": ocean}
    asked |= {"within": within, "outside": outside, "bbox": bbox}
    asked |= {"min_similarity": min_similarity, "min_percentile": min_percentile}
    if regions:
        _refuse(zoom=zoom, table=table, where=where, explain=explain or None)
        asked["k"] = k or 10
    else:
        asked |= {"k": k, "apart_km": apart, "zoom": zoom, "explain": explain}
        asked |= {"table": table, "where": where, "lon": lon, "lat": lat, "cell": cell}
    answer = _ask(atlas, places, asked, regions=regions, quiet=quiet)
    show_places(answer, geometry=geometry, kind=kind, out=out)
    if map:
        answer.save_map(map)
        say(f"Drawn: {map}", quiet=quiet)
    for line in [*(answer.explanations() if explain else []), *_remarks(answer, k)]:
        say(line, quiet=quiet)


def _ask(atlas: str, places: list[str], asked: dict[str, Any], *, regions: bool, quiet: bool) -> Any:
    """Return the answer, and say what was taken for what."""
    found = opened(atlas, quiet=quiet)
    if regions:
        answer = found.regions(places, **asked)
    else:
        with progress_bar("Zooming", "places", quiet=quiet or asked["zoom"] is None) as progress:
            answer = found.like(places, **asked, progress=progress)
    for role in ("like", "unlike"):
        for place in answer.query[role]:
            say(f"{role}: {place}", quiet=quiet)
    return answer


def _check_map(path: Path) -> None:
    """Raise before the search if the map could not be written after it."""
    from satclip_index.maps.map_contents import check_map_path

    check_map_path(path)


def _refuse(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(f"It does not go with --regions: {name} is about single places.")


def _remarks(answer: Any, k: int | None) -> list[str]:
    """Return what a reader should know of an answer beyond its rows."""
    query, said = answer.query, []
    if zoom := query.get("zoom"):
        said.append(
            f"Searched at res {query['res']}; of those, {zoom['encoded']:,} descendants of res {zoom['res']} were "
            f"encoded, and the best of each is shown"
            + (f"; {zoom['winners_left_out']} have none." if zoom["winners_left_out"] else ".")
        )
    if table := query.get("table"):
        left_out = "".join(f"; {count:,} {reason}" for reason, count in table["left_out"].items())
        said.append(f"{table['candidates']:,} of {table['rows']:,} rows are candidates{left_out}.")
        for place, row, km in zip(
            query["like"], table.get("example_rows", []), table.get("example_rows_km", []), strict=False
        ):
            said.append(f"Compared with row {row + 1} of the table, {km:g} km from {place.split(':')[0]}.")
    if "regions" in query:
        said.append(
            f"{query['matching_cells']:,} cells of similarity {query['min_similarity']:.4f} or more make "
            f"{query['regions']:,} regions; {len(answer)} are shown."
            + ("" if len(answer) else " Lower --min-percentile, or --exclude-within.")
        )
    elif len(answer) < (k or 10) and "min_similarity" not in query:
        said.append(
            f"Only {len(answer)} of {k or 10} places qualify; loosen --apart or --exclude-within, or add --ocean."
        )
    return said
