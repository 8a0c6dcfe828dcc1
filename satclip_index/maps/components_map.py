"""What an encoder tells apart: the first three principal components of an atlas as red, green and blue."""

import numpy as np
from numpy.typing import NDArray

from ..search.embedding_source import EmbeddingSource
from ..search.index import Index
from ..search.principal_components import Components
from .heatmap import Bounds, check_bounds, fitting_res, pixels_of, view_of
from .map_contents import Picture

_ROWS_AT_ONCE = 1 << 14
_DARKEST, _BRIGHTEST = 2.0, 98.0  # percentiles of what is shown that get the ends of each colour


def components_picture(
    atlas: EmbeddingSource, bounds: Bounds, width: int, *, res: int | None, land_only: bool
) -> Picture:
    """Return a picture of what varies most among the embeddings; as :meth:`Atlas.plot` has it."""
    bounds = check_bounds(bounds)
    width, height = pixels_of(bounds, width)
    index = atlas.index(fitting_res(atlas.manifest, bounds, width, height) if res is None else res)
    view = view_of(index, bounds, width, height)
    shown = index.tree.rows.land[view.rows] != 0 if land_only else np.ones(view.rows.size, bool)
    colors = np.zeros((view.rows.size + 1, 4), np.uint8)  # the last, which -1 stands for, is left clear
    colors[:-1][shown, :3] = _stretched(projected(index, atlas.components, view.rows[shown]))
    colors[:-1][shown, 3] = 255
    share = sum(atlas.manifest.components["variance_shares"][:3])
    return Picture(
        f"What {atlas.manifest.encoder['name']} tells apart",
        f"The first three principal components of the embeddings as red, green and blue: {share:.0%} of the variance "
        f"on land. Cells of res {index.res}.",
        "Coasts and borders: Natural Earth.",
        bounds,
        width,
        height,
        colors=colors[view.shown],
    )


def projected(index: Index, components: Components, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the first three components of some rows, (n, 3) float32; 0 where the embedding has fewer."""
    count = min(3, components.mean.size)
    found = np.zeros((rows.size, 3), np.float32)
    for start in range(0, rows.size, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        found[part, :count] = components.project(index.vectors.of_rows(rows[part]), count)
    return found


def _stretched(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return values, (n, 3), from 0 to 255, the ends of each column cut off."""
    if not values.size:
        return values.astype(np.uint8)
    low, high = np.percentile(values, [_DARKEST, _BRIGHTEST], axis=0)
    stretched = (values - low) / np.maximum(high - low, 1e-12)
    found: NDArray[np.uint8] = np.rint(np.clip(stretched, 0, 1) * 255).astype(np.uint8)
    return found
