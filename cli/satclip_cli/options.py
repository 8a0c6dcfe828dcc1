"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .render import FORMAT_HELP


def _folder(text: str) -> str:
    """Return the name of a folder without what is not needed of it, and a URL as it is."""
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
Format = Annotated[str | None, typer.Option("--format", help=FORMAT_HELP, show_default=False)]
Geometry = Annotated[
    Literal["point", "polygon"] | None,
    typer.Option(help="What GeoJSON and Parquet draw of a place.", show_default="point; of regions polygon"),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file.", show_default="stdout")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto.")]
Within = Annotated[
    list[str] | None,
    typer.Option(metavar="FILE", help="Only in the polygons of this GeoJSON file; of several, in any."),
]
Outside = Annotated[list[str] | None, typer.Option(metavar="FILE", help="Not in the polygons of this GeoJSON file.")]
Bbox = Annotated[
    str | None, typer.Option(metavar="W,S,E,N", help="Only in this box of degrees; W > E crosses the antimeridian.")
]
Ocean = Annotated[bool, typer.Option("--ocean", help="Let cells at sea be answers.")]
DEFAULT_ATLAS = "atlas"
