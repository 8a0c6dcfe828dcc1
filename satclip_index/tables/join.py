"""Joins of a table with the stored embeddings of an atlas, or with embeddings of its own points."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geo.places import places_of
from ..search.embedding_source import EmbeddingSource
from ..search.place_vectors import vector_of
from ..search.principal_components import check_count
from ._join_columns import Added, Embed, Vectors, check_geometry
from .joined_table import Joined
from .row_locations import Located, find_position
from .source import Source

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

_CPU_POINTS, _GPU_POINTS = 1024, 65_536  # at a time; see Encoder.encode


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOptions:
    """The options of :meth:`Atlas.join`, which documents them; ``res`` is a resolution of the atlas."""

    lon: str | None = None
    lat: str | None = None
    cell: str | None = None
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
    added = Added(
        embed_points(atlas.encoder, options.device) if options.exact else stored_embeddings(atlas),
        dim,
        embedding=options.embedding or ("list" if count is None else "none"),
        components=None if count is None else atlas.components,
        count=0 if count is None else check_count(count, dim),
        queries=np.array(queries, np.float32).reshape(len(places), dim),
    )
    source = Source.open(table)
    columns = {"lon": options.lon, "lat": options.lat, "cell": options.cell}
    return Joined(
        source,
        find_position(source.name, source.types, **columns, cells=True),
        added,
        res,
        geometry=geometry,
        strict=options.strict,
        descendants=options.descendants,
        like=tuple(place.describe(res) for place in places),
    )


def stored_embeddings(atlas: EmbeddingSource) -> Embed:
    """Return a function that reads the embeddings of the cells of places, in the precision they are stored in."""
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
    """Return a table with the embedding of each row's own point; no atlas is needed.

    Parameters
    ----------
    encoder : Encoder
        What :meth:`Encoder.load` gives.
    table, lon, lat, cell, geometry, strict :
        As :meth:`Atlas.join` has them; of a cell it is the centre that is embedded.
    embedding : {"list", "columns", "none"}
        One column, or one for each dimension.
    raw : bool
        The encoder's own output, instead of unit vectors rounded to half precision and their ``norm``.
    device : str
        ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns
    -------
    Joined
        A stream; see :class:`Joined`.

    Raises
    ------
    TableError
        If the table cannot be read, or has no coordinates that can be found.
    EncoderError, QueryError
        If the device, or another option, cannot be used.
    """
    geometry = check_geometry(geometry, cells=False)
    embed = embed_points(encoder, device, raw=raw)
    source = Source.open(table)
    return Joined(
        source,
        find_position(source.name, source.types, lon=lon, lat=lat, cell=cell, cells=True),
        Added(embed, encoder.dim, cell=False, norm=not raw, embedding=embedding, halves=not raw),
        geometry=geometry,
        strict=strict,
    )


def embed_points(encoder: "Encoder", device: str, *, raw: bool = False) -> Embed:
    """Return a function that embeds places at their own points: unit vectors as an atlas stores them, or raw ones."""
    from ..encoder.devices import best_device
    from ..encoder.location_encoder import unit_half

    device = best_device() if device == "auto" else device
    encoder.encode(0.0, 0.0, device=device)  # a device that cannot be used shows before anything is read

    def embed(places: Located) -> tuple[Vectors, Vectors | None]:
        size = _CPU_POINTS if device == "cpu" else _GPU_POINTS
        vectors = encoder.encode(places.lon, places.lat, batch_size=size, device=device)
        return (vectors, None) if raw else unit_half(vectors)

    return embed
