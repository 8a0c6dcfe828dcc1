"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .render import FORMAT_HELP


def _folder(text: str) -> str:
    """Return the name of a folder without a trailing slash or ``./``, and a URL as it is."""
    return text if "://" in text else str(Path(text))


Atlas = Annotated[
    str,
    typer.Option(
        "--atlas",
        envvar="SATCLIP_ATLAS",
        metavar="FOLDER",
        parser=_folder,
        help="Folder of the atlas, or a URL such as s3://bucket/world.",
        show_default="atlas",
    ),
]
DEFAULT_ATLAS = "atlas"
Res = Annotated[int | None, typer.Option(help="H3 resolution, such as 4.", show_default="the finest of the atlas")]
Device = Annotated[str, typer.Option(help="Device to encode on: cpu, cuda, cuda:N or auto.")]

# Which places are returned.
Apart = Annotated[
    float, typer.Option(metavar="KM", help="Minimum distance between two results, in km; 0 for none.", min=0)
]
Within = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE", help="Search only inside the polygons of this GeoJSON file. Repeat it for a union of areas."
    ),
]
Outside = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Leave out the polygons of this GeoJSON file. Can be repeated."),
]
Bbox = Annotated[
    str | None,
    typer.Option(
        metavar="W,S,E,N",
        help="Search only inside this box, in degrees, such as --bbox=-82,-56,-34,13. W > E crosses the antimeridian.",
    ),
]
Ocean = Annotated[bool, typer.Option("--ocean", help="Include ocean cells in the results.")]

# Columns of a user's table.
Lon = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of longitudes, in degrees.", show_default="found by its name"),
]
Lat = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of latitudes, in degrees.", show_default="found by its name"),
]
Cell = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN", help="Column of H3 cells: integers or hexadecimal text.", show_default="found by its name"
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Fail if a row has no valid location; by default such rows get NULL.")
]

# What is written, and where.
Format = Annotated[str | None, typer.Option("--format", help=FORMAT_HELP, show_default=False)]
DocumentFormat = Annotated[Literal["table", "json"], typer.Option("--format", help="Output format.")]
Geometry = Annotated[
    Literal["point", "polygon"] | None,
    typer.Option(
        help="Geometry in GeoJSON and Parquet: cell centers or cell outlines.",
        show_default="point; polygon for regions",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write to this file.", show_default="stdout")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
