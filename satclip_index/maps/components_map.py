"""A map of the embeddings: their first three principal components as red, green and blue."""

import numpy as np
from numpy.typing import NDArray

from ..search.embedding_source import EmbeddingSource
from ..search.index import Index
from ..search.principal_components import Components
from .heatmap import MapView, find_pixel_rows, fitting_res
from .map_contents import BoundingBox, Picture

_ROWS_AT_ONCE = 1 << 14
_DARKEST, _BRIGHTEST = 2.0, 98.0  # percentiles of the shown values that get the ends of each color


def components_picture(
    atlas: EmbeddingSource, bounds: BoundingBox, width: int, *, res: int | None, land_only: bool
) -> Picture:
    """Return a picture of the principal components; parameters as in :meth:`Atlas.plot`."""
    view = MapView.fit(bounds, width)
    index = atlas.index(fitting_res(atlas.manifest, view) if res is None else res)
    found = find_pixel_rows(index, view)
    shown = index.tree.rows.land[found.rows] != 0 if land_only else np.ones(found.rows.size, bool)
    colors = np.zeros((found.rows.size + 1, 4), np.uint8)  # the last, which -1 refers to, stays transparent
    colors[:-1][shown, :3] = _stretched(project_rows(index, atlas.components, found.rows[shown]))
    colors[:-1][shown, 3] = 255
    share = sum(atlas.manifest.components["variance_shares"][:3])
    return Picture(
        f"What {atlas.manifest.encoder['name']} tells apart",
        f"The first three principal components of the embeddings as red, green and blue: {share:.0%} of the variance "
        f"on land. Cells of res {index.res}.",
        "Coasts and borders: Natural Earth.",
        view.bounds,
        view.width,
        view.height,
        colors=colors[found.pixels],
    )


def project_rows(index: Index, components: Components, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the first three components of some rows, (n, 3) float32; 0 where the embedding has fewer."""
    count = min(3, components.mean.size)
    values = np.zeros((rows.size, 3), np.float32)
    for start in range(0, rows.size, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        values[part, :count] = components.project(index.vectors.of_rows(rows[part]), count)
    return values


def _stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return values, (n, 3), scaled to 0 .. 255, with the tails of each column clipped."""
    if not values.size:
        return values.astype(np.uint8)
    low, high = np.percentile(values, [_DARKEST, _BRIGHTEST], axis=0)
    stretched = (values - low) / np.maximum(high - low, 1e-12)
    rounded: NDArray[np.uint8] = np.rint(np.clip(stretched, 0, 1) * 255).astype(np.uint8)
    return rounded
