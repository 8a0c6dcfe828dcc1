"""``satclip-index like``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .opening import open_local
from .render import choose_format, progress_bar, say, show_places


def like(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="PLACE",
            help="City, H3 cell, lon,lat or GeoJSON file, with an optional weight: Nairobi:2. Several are averaged.",
        ),
    ],
    unlike: Annotated[
        list[str] | None, typer.Option(metavar="PLACE", help="Place that results should not be like. Can be repeated.")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "-k", help="Number of results.", min=1, show_default="10; all with --min-similarity or --min-percentile"
        ),
    ] = None,
    res: options.Res = None,
    exclude_within: Annotated[
        float, typer.Option(metavar="KM", help="Minimum distance from any PLACE, in km.", min=0)
    ] = 500.0,
    apart: options.Apart = 300.0,
    within: options.Within = None,
    outside: options.Outside = None,
    bbox: options.Bbox = None,
    ocean: options.Ocean = False,
    min_similarity: Annotated[float | None, typer.Option(help="Minimum cosine similarity, -1 to 1.")] = None,
    min_percentile: Annotated[
        float | None,
        typer.Option(help="Minimum percentile of similarity among random pairs of land cells, 0 to 100, such as 99."),
    ] = None,
    regions: Annotated[
        bool,
        typer.Option(
            "--regions", help="Group matching cells into regions; matching is --min-percentile 95 by default."
        ),
    ] = False,
    zoom: Annotated[
        int | None, typer.Option(help="Refine each result to its best descendant cell at this finer resolution.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Search among the rows of this CSV, Parquet or JSON file.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help='Condition on the rows of --table, such as "population > 1e6".')
    ] = None,
    lon: options.Lon = None,
    lat: options.Lat = None,
    cell: options.Cell = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print how each result resembles the example.")] = False,
    map: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="Also draw a map to this .png, .svg or .html file.")
    ] = None,
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    format: options.Format = None,
    geometry: options.Geometry = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Find the places on Earth most similar to one or more examples.

    By default, results are on land, at least 500 km from your example and 300 km apart.

    Example: satclip-index like Nairobi --unlike "São Paulo" -k 5

    Example, only in South America: satclip-index like Nairobi --bbox=-82,-56,-34,13

    Example, among the rows of a table: satclip-index like Nairobi --table cities.csv --where "population > 1e6"

    Example, cell outlines as GeoJSON: satclip-index like Nairobi --geometry polygon -o like.geojson

    Example, with an interactive map: satclip-index like Nairobi --map like.html

    Example, the nearest neighbors without any rule: satclip-index like 36.8,-1.3 --exclude-within 0 --apart 0 --ocean
    """
    kind = choose_format(format, out, geometry=geometry)
    if map:
        _check_map(map)
    settings: dict[str, Any] = {"unlike": unlike or [], "res": res, "exclude_within_km": exclude_within, "ocean": ocean}
    settings |= {"within": within, "outside": outside, "bbox": bbox}
    settings |= {"min_similarity": min_similarity, "min_percentile": min_percentile}
    if regions:
        _refuse(zoom=zoom, table=table, where=where, explain=explain or None)
        settings["k"] = k or 10
    else:
        settings |= {"k": k, "apart_km": apart, "zoom": zoom, "explain": explain}
        settings |= {"table": table, "where": where, "lon": lon, "lat": lat, "cell": cell}
    answer = _search(atlas, places, settings, regions=regions, quiet=quiet)
    show_places(answer, geometry=geometry, kind=kind, out=out)
    if map:
        answer.save_map(map)
        say(f"Map: {map}", quiet=quiet)
    for line in [*(answer.explanations() if explain else []), *_remarks(answer, k)]:
        say(line, quiet=quiet)


def _search(atlas: str, places: list[str], settings: dict[str, Any], *, regions: bool, quiet: bool) -> Any:
    """Return the results, and print how each example was understood."""
    source = open_local(atlas, quiet=quiet)
    if regions:
        answer = source.regions(places, **settings)
    else:
        with progress_bar("Zooming", "places", quiet=quiet or settings["zoom"] is None) as progress:
            answer = source.like(places, **settings, progress=progress)
    for role in ("like", "unlike"):
        for place in answer.query[role]:
            say(f"{role}: {place}", quiet=quiet)
    return answer


def _check_map(path: Path) -> None:
    """Raise before the search if the map cannot be written after it."""
    from satclip_index.maps.map_contents import check_map_path

    check_map_path(path)


def _refuse(**options: Any) -> None:
    """Raise if an option is set that --regions does not support."""
    for name, value in options.items():
        if value is not None:
            raise typer.BadParameter(f"--{name} cannot be combined with --regions.")


def _remarks(answer: Any, k: int | None) -> list[str]:
    """Return notes on the results that are not in their rows."""
    query, remarks = answer.query, []
    if zoom := query.get("zoom"):
        remarks.append(
            f"Searched at res {query['res']}, then encoded {zoom['encoded']:,} descendants of the results at res "
            f"{zoom['res']}; the best descendant of each is shown"
            + (f"; {zoom['winners_left_out']} have none." if zoom["winners_left_out"] else ".")
        )
    if table := query.get("table"):
        left_out = "".join(f"; {count:,} {reason}" for reason, count in table["left_out"].items())
        remarks.append(f"{table['candidates']:,} of {table['rows']:,} rows are candidates{left_out}.")
        for place, row, km in zip(
            query["like"], table.get("example_rows", []), table.get("example_rows_km", []), strict=False
        ):
            remarks.append(f"Compared with row {row + 1} of the table, {km:g} km from {place.split(':')[0]}.")
    if "regions" in query:
        remarks.append(
            f"{query['matching_cells']:,} cells with a similarity of at least {query['min_similarity']:.4f} form "
            f"{query['regions']:,} regions; {len(answer)} are shown."
            + ("" if len(answer) else " Lower --min-percentile or --exclude-within.")
        )
    elif len(answer) < (k or 10) and "min_similarity" not in query:
        remarks.append(
            f"Found only {len(answer)} of {k or 10} places. Lower --apart or --exclude-within, or add --ocean."
        )
    return remarks
