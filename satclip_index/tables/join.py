"""Joins of a table with the stored embeddings of an atlas, or with embeddings of its own points."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geo.places import places_of
from ..search.embedding_source import EmbeddingSource
from ..search.place_vectors import vector_of
from ..search.principal_components import check_count
from ._join_columns import Embed, JoinColumns, Vectors, check_geometry
from .joined_table import Joined
from .row_locations import RowLocations, TableColumns, find_location_columns
from .source import Source

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

_CPU_POINTS, _GPU_POINTS = 1024, 65_536  # at a time; see Encoder.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOptions:
    """The options of :meth:`Atlas.join`, which documents them; ``res`` is a resolution of the atlas."""

    columns: TableColumns = field(default_factory=TableColumns)
    res: int
    exact: bool = False
    embedding: str | None = None
    components: int | None = None
    like: Any = ()
    geometry: str | None = None
    strict: bool = False
    descendants: bool = False
    device: str = "auto"


def join_cells(atlas: EmbeddingSource, table: Any, options: JoinOptions) -> Joined:
    """Return a table with columns for the atlas's cell of each row, as :meth:`Atlas.join` does."""
    dim, res, count = atlas.manifest.dim, options.res, options.components
    places = places_of(options.like or ())
    queries = [vector_of(atlas, place, res) for place in places]
    geometry = check_geometry(options.geometry, cells=True)
    added = JoinColumns(
        embed_points(atlas.encoder, options.device) if options.exact else stored_embeddings(atlas),
        dim,
        embedding=options.embedding or ("list" if count is None else "none"),
        components=None if count is None else atlas.components,
        count=0 if count is None else check_count(count, dim),
        queries=np.array(queries, np.float32).reshape(len(places), dim),
    )
    source = Source.open(table)
    return Joined(
        source,
        find_location_columns(source.name, source.types, options.columns),
        added,
        res,
        geometry=geometry,
        strict=options.strict,
        descendants=options.descendants,
        like=tuple(place.describe(res) for place in places),
    )


def stored_embeddings(atlas: EmbeddingSource) -> Embed:
    """Return a function that reads the embeddings of the cells of locations, in the stored precision."""
    return lambda places: (atlas.vectors_of(places.cell, np.float16), None)


def embed_table(
    encoder: "Encoder",
    table: Any,
    *,
    lon: str | None = None,
    lat: str | None = None,
    cell: str | None = None,
    embedding: str = "list",
    raw: bool = False,
    geometry: str | None = None,
    strict: bool = False,
    device: str = "auto",
) -> Joined:
    """Return a table with the embedding of each row's point, as a stream; it needs no atlas.

    Parameters
    ----------
    encoder : Encoder
        From :meth:`Encoder.load`.
    table, lon, lat, cell, geometry, strict :
        As in :meth:`Atlas.join`; for a cell, its center is embedded.
    embedding : {"list", "columns", "none"}
        One list column, one column per dimension, or none.
    raw : bool
        Add the encoder's output as it is, instead of unit vectors in half precision and their ``norm``.
    device : str
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns
    -------
    Joined
        Read it as Arrow or pandas, or write it to a file.

    Raises
    ------
    TableError
        If the table cannot be read, or no coordinates or cells are found in it.
    EncoderError, QueryError
        If the device cannot be used, or another option is invalid.
    """
    geometry = check_geometry(geometry, cells=False)
    embed = embed_points(encoder, device, raw=raw)
    source = Source.open(table)
    return Joined(
        source,
        find_location_columns(source.name, source.types, TableColumns(lon=lon, lat=lat, cell=cell)),
        JoinColumns(embed, encoder.dim, cell=False, norm=not raw, embedding=embedding, halves=not raw),
        geometry=geometry,
        strict=strict,
    )


def embed_points(encoder: "Encoder", device: str, *, raw: bool = False) -> Embed:
    """Return a function that embeds the points of locations: unit vectors as an atlas stores them, or raw ones."""
    from ..encoder.devices import best_device
    from ..encoder.location_encoder import unit_half

    device = best_device() if device == "auto" else device
    encoder.encode(0.0, 0.0, device=device)  # raises before reading if the device cannot be used

    def embed(places: RowLocations) -> tuple[Vectors, Vectors | None]:
        size = _CPU_POINTS if device == "cpu" else _GPU_POINTS
        vectors = encoder.encode(places.lon, places.lat, batch_size=size, device=device)
        return (vectors, None) if raw else unit_half(vectors)

    return embed
