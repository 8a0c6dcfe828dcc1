"""Winners looked at more closely: their descendants, encoded when they are asked for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..geo import grid, sphere
from ..geo.land_mask import is_land
from ..progress import Progress
from .question import Question

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

_MOST_POINTS = 20_000_000  # ten minutes of encoding
_POINTS_AT_ONCE = 1 << 17


@dataclass(frozen=True, slots=True)
class Zoomed:
    """The best descendant of each winner that has one, most similar first.

    Attributes
    ----------
    cell : (n,) uint64
        Of the finer resolution.
    similarity : (n,) float32
        Of its own embedding, rounded as stored, with the query.
    encoded : int
        How many descendants were encoded.
    left_out : int
        Winners without a descendant that the rules let through.
    """

    cell: grid.Cells
    similarity: NDArray[np.float32]
    encoded: int
    left_out: int

    def describe(self, zoom: int) -> dict[str, int]:
        """Return what was computed, as JSON can hold it."""
        return {"res": zoom, "encoded": self.encoded, "winners_left_out": self.left_out}


def check_zoom(zoom: int, question: Question) -> int:
    """Return the finer resolution, or raise QueryError if it is not one, or takes too many points."""
    grid.check_res(zoom)
    if zoom <= question.res:
        raise QueryError(f"zoom is {zoom}; expected a resolution finer than {question.res}, at which is searched.")
    points = (question.k or 1) * 7 ** (zoom - question.res)
    if points > _MOST_POINTS:
        raise QueryError(
            f"Zooming from {question.res} to {zoom} encodes {points:,} points for {question.k} places; "
            f"at most {_MOST_POINTS:,} are. Take a coarser zoom or a smaller k."
        )
    return int(zoom)


def zoom_in(
    question: Question,
    query: NDArray[np.float32],
    winners: grid.Cells,
    zoom: int,
    encoder: "Encoder",
    *,
    progress: Progress | None = None,
) -> Zoomed:
    """Return the most similar descendant of each of some cells, under the rules of a question.

    Winners are taken in their order: of each the best descendant, ties by cell, that is land, within bounds, far enough
    from the examples and from the descendants taken before.

    Parameters
    ----------
    question : Question
    query : (dim,) float32
    winners : (n,) uint64
        The most similar first.
    zoom : int
        Resolution of the descendants.
    encoder : Encoder
        That of the atlas.
    progress : function of (done, total), optional
        Called with winners done.
    """
    examples = question.examples()
    cells, similarity = np.empty(0, np.uint64), np.empty(0, np.float32)
    encoded = 0
    for number, winner in enumerate(winners, 1):
        below = grid.descendants(np.array([winner], dtype=np.uint64), zoom)
        lon, lat = grid.cell_centers(below)
        allowed = examples.distance_km(lon, lat) >= question.exclude_within_km
        if question.bounds:
            allowed &= question.bounds.holds(lon, lat)
        if not question.ocean:
            allowed &= is_land(lon, lat)
        if cells.size and question.apart_km > 0:
            allowed &= sphere.PointSet(*grid.cell_centers(cells)).distance_km(lon, lat) >= question.apart_km
        below, lon, lat = below[allowed], lon[allowed], lat[allowed]
        if below.size:
            alike = _similarity(encoder, lon, lat, query)
            best = int(np.argmax(alike))
            if alike[best] >= question.least:
                cells, similarity = np.append(cells, below[best]), np.append(similarity, alike[best])
        encoded += below.size
        if progress:
            progress(number, winners.size)
    order = np.lexsort((cells, -similarity))
    return Zoomed(cells[order], similarity[order], encoded, winners.size - cells.size)


def _similarity(
    encoder: "Encoder", lon: NDArray[np.float64], lat: NDArray[np.float64], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the similarity of points, as if they were stored, (n,) float32."""
    from ..encoder.location_encoder import unit_half

    alike = np.empty(lon.size, np.float32)
    for first in range(0, lon.size, _POINTS_AT_ONCE):
        some = slice(first, first + _POINTS_AT_ONCE)
        embedding, _ = unit_half(encoder.encode(lon[some], lat[some]))
        alike[some] = embedding.astype(np.float64) @ query.astype(np.float64)
    return alike
