"""``satclip-index embed``."""

from typing import Annotated, Any

import typer

from . import options
from .join import TABLE_HELP, Cell, Strict, show_joined, table_of
from .opening import opened


def embed(
    table: Annotated[str | None, typer.Argument(metavar="TABLE", help=TABLE_HELP, show_default=False)] = None,
    lon: Annotated[
        str | None, typer.Option(metavar="LON", help="The table's longitudes; without a TABLE, degrees.")
    ] = None,
    lat: Annotated[
        str | None, typer.Option(metavar="LAT", help="The table's latitudes; without a TABLE, degrees.")
    ] = None,
    cell: Cell = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="bluemarble, a file, or ORG/MODEL on the Hub.", show_default="bluemarble"),
    ] = None,
    atlas: Annotated[str | None, typer.Option(metavar="FOLDER", help="Take the encoder of this atlas.")] = None,
    embedding: Annotated[str, typer.Option(help="list or columns.")] = "list",
    raw: Annotated[
        bool, typer.Option("--raw", help="The encoder's own output, not brought to length 1 and half precision.")
    ] = False,
    geometry: Annotated[
        str | None, typer.Option(help="point or none.", show_default="point in Parquet and GeoJSON")
    ] = None,
    strict: Strict = False,
    device: options.Device = "auto",
    format: options.Format = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Add to every row of a table the embedding of its own point; no atlas is needed.

    The embedding is a unit vector, as in an atlas, and norm is the length that was divided out.

    Example: satclip-index embed stations.csv -o embedded.parquet

    Example, of one point: satclip-index embed --lon 36.8 --lat=-1.3

    Example, the released SatCLIP: satclip-index embed stations.csv --encoder microsoft/SatCLIP-ViT16-L40 -o out.parquet
    """
    from satclip_index import Encoder, embed_table

    if encoder and atlas:
        raise typer.BadParameter("It does not go with --atlas, which has an encoder.", param_hint="--encoder")
    found = opened(atlas, quiet=quiet) if atlas else None
    asked: dict[str, Any] = {"embedding": embedding, "raw": raw, "geometry": geometry, "strict": strict}
    if table is None:
        source = _point(lon, lat)
    else:
        source = table_of(table, found)
        asked |= {"lon": lon, "lat": lat, "cell": cell}
    joined = embed_table(
        found.encoder if found else Encoder.load(encoder or "bluemarble"), source, **asked, device=device
    )
    show_joined(joined, format=format, out=out, quiet=quiet)


def _point(lon: str | None, lat: str | None) -> Any:
    """Return a table of one row."""
    import pyarrow as pa

    from satclip_index.errors import CoordinateError

    if lon is None or lat is None:
        raise typer.BadParameter("Name a TABLE, or give --lon and --lat in degrees.")
    try:
        return pa.table({"lon": [float(lon)], "lat": [float(lat)]})
    except ValueError:
        raise CoordinateError(f"{lon!r}, {lat!r} are not degrees; expected two numbers, or name a TABLE.") from None
