"""``satclip-index embed``."""

from typing import Annotated, Any

import typer

from . import options
from .join import TABLE_HELP, show_joined, table_of
from .opening import open_local


def embed(
    table: Annotated[str | None, typer.Argument(metavar="TABLE", help=TABLE_HELP, show_default=False)] = None,
    lon: Annotated[
        str | None,
        typer.Option(
            metavar="LON", help="Column of longitudes, found by its name; without a TABLE, a longitude in degrees."
        ),
    ] = None,
    lat: Annotated[
        str | None,
        typer.Option(
            metavar="LAT", help="Column of latitudes, found by its name; without a TABLE, a latitude in degrees."
        ),
    ] = None,
    cell: options.Cell = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Location encoder: bluemarble, a .safetensors or .ckpt file, or ORG/MODEL on the Hugging Face Hub.",
            show_default="bluemarble",
        ),
    ] = None,
    atlas: Annotated[str | None, typer.Option(metavar="FOLDER", help="Use the encoder of this atlas.")] = None,
    embedding: Annotated[
        str, typer.Option(help="How embeddings are stored: list (one column) or columns (one per dimension).")
    ] = "list",
    raw: Annotated[
        bool, typer.Option("--raw", help="Keep the raw output of the encoder, without normalization to unit length.")
    ] = False,
    geometry: Annotated[
        str | None, typer.Option(help="Geometry column: point or none.", show_default="point in Parquet and GeoJSON")
    ] = None,
    strict: options.Strict = False,
    device: options.Device = "auto",
    format: options.Format = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Encode the location of every row of a table; no atlas is needed.

    Embeddings are unit vectors, as in an atlas; column norm has the length before normalization.

    Example: satclip-index embed stations.csv -o embedded.parquet

    Example, a single point: satclip-index embed --lon 36.8 --lat=-1.3

    Example, a SatCLIP model: satclip-index embed stations.csv --encoder microsoft/SatCLIP-ViT16-L40 -o out.parquet
    """
    from satclip_index import Encoder, embed_table

    if encoder and atlas:
        raise typer.BadParameter(
            "Give either --encoder or --atlas, not both: an atlas has its own encoder.", param_hint="--encoder"
        )
    source_atlas = open_local(atlas, quiet=quiet) if atlas else None
    settings: dict[str, Any] = {"embedding": embedding, "raw": raw, "geometry": geometry, "strict": strict}
    if table is None:
        source = _point(lon, lat)
    else:
        source = table_of(table, source_atlas)
        settings |= {"lon": lon, "lat": lat, "cell": cell}
    joined = embed_table(
        source_atlas.encoder if source_atlas else Encoder.load(encoder or "bluemarble"),
        source,
        **settings,
        device=device,
    )
    show_joined(joined, format=format, out=out, quiet=quiet)


def _point(lon: str | None, lat: str | None) -> Any:
    """Return a table with one row."""
    import pyarrow as pa

    from satclip_index.errors import CoordinateError

    if lon is None or lat is None:
        raise typer.BadParameter("Give a TABLE, or --lon and --lat in degrees.")
    try:
        return pa.table({"lon": [float(lon)], "lat": [float(lat)]})
    except ValueError:
        raise CoordinateError(
            f"--lon {lon!r} and --lat {lat!r} are not numbers of degrees. To use them as columns, give a TABLE."
        ) from None
