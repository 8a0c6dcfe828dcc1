"""Answers to a question: cells, rows of a table, or regions of adjacent cells."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..geo import grid, sphere
from ..progress import Progress
from ..search.embedding_source import EmbeddingSource
from ._regions import group_regions, outline
from .neighbors import Matches, Neighbors
from .question import Question
from .zoom import zoom_in

if TYPE_CHECKING:
    from ..tables.candidates import Candidates

Similarity = NDArray[np.float32]


def like_cells(
    atlas: EmbeddingSource,
    question: Question,
    *,
    zoom: int | None = None,
    explain: bool = False,
    progress: Progress | None = None,
) -> Neighbors:
    """Return the cells most similar to the examples.

    Parameters
    ----------
    atlas : EmbeddingSource
    question : Question
    zoom, explain, progress :
        As in :meth:`Atlas.like`; ``zoom`` is checked by :func:`check_zoom`.
    """
    query, cells, similarity = _search(atlas, question, question.rules.k)
    description = _describe(atlas, question)
    if zoom is not None:
        zoomed = zoom_in(atlas, question, query, cells, zoom, progress=progress)
        cells, similarity = zoomed.cell, zoomed.similarity
        # Only the descendants of the results were compared at the finer resolution.
        description |= {"exact": False, "zoom": zoomed.describe(zoom)}
    return Neighbors.from_matches(
        _matches(question, cells, similarity),
        atlas.manifest.entry(question.res),
        description,
        extra=_similarity_to_each_example(atlas, question, cells) if explain else {},
        scene=question.map_context(atlas, query),
    )


def like_regions(atlas: EmbeddingSource, question: Question) -> Neighbors:
    """Return the regions that matching cells form: the best cell of each, and statistics of its cells."""
    query, cells, similarity = _search(atlas, question, k=None)  # k is the number of regions
    regions = group_regions(cells, similarity)
    count = len(regions) if question.rules.k is None else min(question.rules.k, len(regions))
    best_similarity = np.asarray(regions.best_similarity[:count], np.float32)
    return Neighbors.from_matches(
        _matches(question, regions.best_cell[:count], best_similarity),
        atlas.manifest.entry(question.res),
        _describe(atlas, question) | {"matching_cells": int(cells.size), "regions": len(regions)},
        extra={
            "mean_similarity": regions.mean_similarity[:count],
            "cells": regions.count[:count],
            "area_km2": regions.area_km2[:count],
        },
        outlines=[outline(cells[regions.label == number]) for number in range(count)],
        scene=question.map_context(atlas, query),
    )


def like_rows(
    atlas: EmbeddingSource, question: Question, candidates: "Candidates", *, explain: bool = False
) -> Neighbors:
    """Return the rows of a table most similar to the examples; ``explain`` as in :meth:`Atlas.like`."""
    from ..tables.example_differences import find_differences
    from ..tables.ranking import rank_table

    query, examples = question.query(atlas), question.examples()
    ranked = rank_table(atlas.index(question.res), query, candidates, question.rules, examples)
    about_table = candidates.describe() | {
        "rows": ranked.read,
        "candidates": ranked.candidates,
        "left_out": ranked.left_out,
    }
    table, extra = ranked.table, {}
    if explain:
        extra = _similarity_to_each_example(atlas, question, ranked.cell)
        points = [sphere.PointSet(*place.locations(question.res)) for place in question.wanted]
        difference = find_differences(candidates, ranked.table, points)
        for name in difference.table.column_names:
            table = table.append_column(name, difference.table.column(name))
        about_table["example_rows"] = difference.row.tolist()
        about_table["example_rows_km"] = difference.distance_km.round(1).tolist()
    description = _describe(atlas, question) | {"table": about_table}
    del description["ocean"]  # rows of a table may be anywhere
    matches = Matches(
        cell=ranked.cell,
        lon=ranked.lon,
        lat=ranked.lat,
        similarity=ranked.similarity,
        distance_km=examples.distance_km(ranked.lon, ranked.lat),
    )
    entry, scene = atlas.manifest.entry(question.res), question.map_context(atlas, query)
    return Neighbors.from_matches(matches, entry, description, extra=extra, table=table, scene=scene)


def _search(
    atlas: EmbeddingSource, question: Question, k: int | None
) -> tuple[NDArray[np.float32], grid.Cells, Similarity]:
    """Return the query vector, and the k cells (all for None) that answer the question with their similarity."""
    index, query = atlas.index(question.res), question.query(atlas)
    hits = index.engine.top(query, k or len(index), question.to_filter(index))
    return query, index.cells[hits.rows], hits.similarity


def _describe(atlas: EmbeddingSource, question: Question) -> dict[str, Any]:
    return question.describe() | {"encoder": atlas.manifest.encoder["name"], "exact": True}


def _matches(question: Question, cells: grid.Cells, similarity: Similarity) -> Matches:
    lon, lat = grid.cell_centers(cells)
    distance_km = question.examples().distance_km(lon, lat)
    return Matches(cell=cells, lon=lon, lat=lat, similarity=similarity, distance_km=distance_km)


def _similarity_to_each_example(
    atlas: EmbeddingSource, question: Question, cells: grid.Cells
) -> dict[str, NDArray[np.float32]]:
    """Return the similarity of cells to each of several examples; nothing if there is only one."""
    if len(question.wanted) + len(question.unwanted) == 1:
        return {}
    vectors = atlas.vectors_of(cells).astype(np.float64)
    examples = [(f"like_{i}", place) for i, place in enumerate(question.wanted, 1)]
    examples += [(f"unlike_{i}", place) for i, place in enumerate(question.unwanted, 1)]
    return {name: (vectors @ question.vector(atlas, place)).astype(np.float32) for name, place in examples}
