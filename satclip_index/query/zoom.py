"""Refinement of results at a finer resolution: their descendants are encoded on the fly."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError
from ..geo import grid, sphere
from ..geo.land_mask import is_land
from ..progress import Progress
from ..search.embedding_source import EmbeddingSource
from .question import Question

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

_MOST_POINTS = 20_000_000  # ten minutes of encoding
_POINTS_AT_ONCE = 1 << 17


@dataclass(frozen=True, slots=True)
class Zoomed:
    """The best descendant of each result that has one, most similar first.

    Attributes
    ----------
    cell : (n,) uint64
        Cells of the finer resolution.
    similarity : (n,) float32
        Of their own embeddings, rounded as if stored, with the query.
    encoded : int
        Number of descendants that were encoded.
    left_out : int
        Results without a descendant that the rules allow.
    """

    cell: grid.Cells
    similarity: NDArray[np.float32]
    encoded: int
    left_out: int

    def describe(self, zoom: int) -> dict[str, int]:
        """Return what was computed as a dictionary for JSON."""
        return {"res": zoom, "encoded": self.encoded, "winners_left_out": self.left_out}


def check_zoom(zoom: int, question: Question) -> int:
    """Return the finer resolution, or raise QueryError if it is not finer or needs too many points."""
    grid.check_res(zoom)
    if zoom <= question.res:
        raise QueryError(f"zoom is {zoom}; expected a resolution finer than {question.res}, at which is searched.")
    k = question.rules.k
    points = (k or 1) * 7 ** (zoom - question.res)
    if points > _MOST_POINTS:
        raise QueryError(
            f"Zooming from {question.res} to {zoom} encodes {points:,} points for {k} places; "
            f"at most {_MOST_POINTS:,} are. Take a coarser zoom or a smaller k."
        )
    return int(zoom)


def zoom_in(
    atlas: EmbeddingSource,
    question: Question,
    query: NDArray[np.float32],
    cells: grid.Cells,
    zoom: int,
    *,
    progress: Progress | None = None,
) -> Zoomed:
    """Return the most similar descendant of each of some cells, under the rules of a question.

    For each cell, in order, the best descendant is chosen, ties by cell, that is on land, in the area, far enough from
    the examples and from the descendants chosen before.

    Parameters
    ----------
    atlas : EmbeddingSource
        Its encoder embeds the descendants.
    question : Question
    query : (dim,) float32
        The query vector of the question.
    cells : (n,) uint64
        Results of the search, the most similar first.
    zoom : int
        Resolution of the descendants.
    progress : function of (done, total), optional
        Called with the number of cells.
    """
    examples, rules, encoder = question.examples(), question.rules, atlas.encoder
    chosen, similarity = np.empty(0, np.uint64), np.empty(0, np.float32)
    encoded = 0
    for number, cell in enumerate(cells, 1):
        descendants = grid.descendants(np.array([cell], dtype=np.uint64), zoom)
        lon, lat = grid.cell_centers(descendants)
        allowed = examples.distance_km(lon, lat) >= rules.exclude_within_km
        if rules.area:
            allowed &= rules.area.contains(lon, lat)
        if not rules.ocean:
            allowed &= is_land(lon, lat)
        if chosen.size and rules.apart_km > 0:
            allowed &= sphere.PointSet(*grid.cell_centers(chosen)).distance_km(lon, lat) >= rules.apart_km
        descendants, lon, lat = descendants[allowed], lon[allowed], lat[allowed]
        if descendants.size:
            alike = _similarity(encoder, lon, lat, query)
            best = int(np.argmax(alike))
            if rules.min_similarity is None or alike[best] >= rules.min_similarity:
                chosen, similarity = np.append(chosen, descendants[best]), np.append(similarity, alike[best])
        encoded += descendants.size
        if progress:
            progress(number, cells.size)
    order = np.lexsort((chosen, -similarity))
    return Zoomed(chosen[order], similarity[order], encoded, cells.size - chosen.size)


def _similarity(
    encoder: "Encoder", lon: NDArray[np.float64], lat: NDArray[np.float64], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the similarity of points as if they were stored, (n,) float32."""
    from ..encoder.location_encoder import unit_half

    alike = np.empty(lon.size, np.float32)
    for first in range(0, lon.size, _POINTS_AT_ONCE):
        chunk = slice(first, first + _POINTS_AT_ONCE)
        embedding, _ = unit_half(encoder.encode(lon[chunk], lat[chunk]))
        alike[chunk] = embedding.astype(np.float64) @ query.astype(np.float64)
    return alike
