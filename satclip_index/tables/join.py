"""What is asked of a join, checked and put together: by an atlas's cells, or by an encoder at the points."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..geo.places import places_of
from ..search.place_vectors import vector_of
from ..search.principal_components import Components, check_count
from ._join_columns import Added, Embed, Vectors, check_geometry
from .joined_table import Joined
from .row_locations import Located, find_position
from .source import Source

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

_CPU_POINTS, _GPU_POINTS = 1024, 65_536  # at a time; see Encoder.encode


class JoinOptions(TypedDict, total=False):
    """What may be asked of a join.

    Attributes
    ----------
    lon, lat, cell : str, optional
        The table's columns of degrees, or of H3 cells, where their names do not say so. Of a finer cell its ancestor
        is taken.
    res : int, optional
        One of the atlas; the finest by default.
    exact : bool
        Embed the point itself instead of taking the stored embedding of its cell.
    embedding : {"list", "columns", "none"}, optional
        Whether it is one column or one for each dimension; by default a list, or none with ``components``.
    components : int, optional
        Add the first so many principal components of the atlas, ``pc_01`` and on.
    like : place, or list of places
        Add the ``similarity`` to each, as :meth:`Atlas.like` takes them; of several, ``similarity_1`` and on.
    geometry, strict, descendants :
        As :class:`Joined` has them.
    device : str
        Where ``exact`` runs: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
    """

    lon: str | None
    lat: str | None
    cell: str | None
    res: int | None
    exact: bool
    embedding: str | None
    components: int | None
    like: Any
    geometry: str | None
    strict: bool
    descendants: bool
    device: str


def join_cells(
    table: Any,
    res: int,
    dim: int,
    vectors_of: Callable[..., NDArray[Any]],
    components: Callable[[], Components],
    encoder: "Callable[[], Encoder]",
    options: JoinOptions,
) -> Joined:
    """Return a table with what an atlas knows of the cell of each row, as :meth:`Atlas.join` has it.

    ``vectors_of``, ``components`` and ``encoder`` are the atlas's; the first takes cells and a precision.
    """
    if unknown := set(options) - set(JoinOptions.__annotations__):
        raise QueryError(
            f"{', '.join(sorted(unknown))}: no such option; there are {', '.join(JoinOptions.__annotations__)}."
        )
    places = places_of(options.get("like") or ())
    queries = [vector_of(place, res, vectors_of) for place in places]
    count, embedding = options.get("components"), options.get("embedding")
    exact = options.get("exact", False)
    geometry = check_geometry(options.get("geometry"), cells=True)
    added = Added(
        embed_points(encoder(), options.get("device", "auto")) if exact else _stored(vectors_of),
        dim,
        embedding=embedding or ("list" if count is None else "none"),
        components=None if count is None else components(),
        count=0 if count is None else check_count(count, dim),
        queries=np.array(queries, np.float32).reshape(len(places), dim),
    )
    source = Source.open(table)
    lon, lat, cell = options.get("lon"), options.get("lat"), options.get("cell")
    return Joined(
        source,
        find_position(source.name, source.types, lon=lon, lat=lat, cell=cell, cells=True),
        added,
        res,
        geometry=geometry,
        strict=options.get("strict", False),
        descendants=options.get("descendants", False),
        like=tuple(place.describe(res) for place in places),
    )


def _stored(vectors_of: Callable[..., NDArray[Any]]) -> Embed:
    """Return a function that takes the vectors of the cells of places, in the precision they are stored in."""
    return lambda places: (vectors_of(places.cell, np.float16), None)


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
