"""What is asked of a join, checked and put together: by an atlas's cells, or by an encoder at the points."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .added import Added, Embed, Vectors, check_geometry
from .callbacks import VectorsOf
from .components import Components, check_count
from .joined import Joined
from .positions import Located, find_position
from .question import places_of, vector_of
from .sources import Source

if TYPE_CHECKING:
    from .encoder import Encoder

_GPU_POINTS = 65_536  # at a time; on a CPU the encoder's own number is better


def join_cells(
    table: Any,
    *,
    res: int,
    dim: int,
    vectors_of: VectorsOf,
    embed: Embed,
    components: Callable[[], Components],
    position: dict[str, str | None],
    embedding: str | None,
    count: int | None,
    like: Any,
    geometry: str | None,
    strict: bool,
    descendants: bool,
) -> Joined:
    """Return a table with what an atlas knows of the cell of each row, as :meth:`Atlas.join` has it.

    ``vectors_of`` and ``components`` are the atlas's; ``embed`` takes its vectors, or those of the points themselves.
    """
    places = places_of(like)
    source = Source.open(table)
    added = Added(
        embed,
        dim,
        embedding=embedding or ("list" if count is None else "none"),
        components=None if count is None else components(),
        count=0 if count is None else check_count(count, dim),
        queries=np.array([vector_of(place, res, vectors_of) for place in places], np.float32).reshape(len(places), dim),
    )
    return Joined(
        source,
        find_position(source.name, source.types, **position, cells=True),
        added,
        res,
        geometry=check_geometry(geometry, cells=True),
        strict=strict,
        descendants=descendants,
        like=tuple(place.describe(res) for place in places),
    )


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
    encoder.encode(0.0, 0.0, device=device)  # a device that cannot be used shows before anything is written
    source = Source.open(table)
    return Joined(
        source,
        find_position(source.name, source.types, lon=lon, lat=lat, cell=cell, cells=True),
        Added(
            embed_points(encoder, device, raw=raw),
            encoder.dim,
            cell=False,
            norm=not raw,
            embedding=embedding,
            halves=not raw,
        ),
        geometry=check_geometry(geometry, cells=False),
        strict=strict,
    )


def embed_points(encoder: "Encoder", device: str, *, raw: bool = False) -> Embed:
    """Return a function that embeds places at their own points: unit vectors as an atlas stores them, or raw ones."""
    from .encoder import best_device, unit_half

    device = best_device() if device == "auto" else device
    options = {} if device == "cpu" else {"batch_size": _GPU_POINTS}

    def embed(places: Located) -> tuple[Vectors, Vectors | None]:
        vectors = encoder.encode(places.lon, places.lat, device=device, **options)
        return (vectors, None) if raw else unit_half(vectors)

    return embed
