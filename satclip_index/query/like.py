"""Answers to a question: cells, rows of a table, or regions of adjacent cells."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geo import grid, sphere
from ..progress import Progress
from ..search.embedding_source import EmbeddingSource
from ._regions import group, outline
from .neighbors import Matches, Neighbors
from .question import Question
from .zoom import zoom_in

Similarity = NDArray[np.float32]


def like_cells(
    atlas: EmbeddingSource,
    question: Question,
    *,
    zoom: int | None = None,
    explain: bool = False,
    progress: Progress | None = None,
) -> Neighbors:
    """Return the cells most like the examples; ``zoom``, ``explain`` and ``progress`` as in :meth:`Atlas.like`."""
    query, cells, similarity = _search(atlas, question)
    description = _describe(atlas, question)
    if zoom is not None:
        zoomed = zoom_in(question, query, cells, zoom, atlas.encoder, progress=progress)
        cells, similarity = zoomed.cell, zoomed.similarity
        # Only the descendants of the results were compared at the finer resolution.
        description |= {"exact": False, "zoom": zoomed.describe(zoom)}
    extra = _similarity_to_each_example(atlas, question, cells) if explain else {}
    matches, entry = _matches(question, cells, similarity), atlas.manifest.entry(question.res)
    return Neighbors.from_matches(matches, entry, description, extra=extra, scene=question.scene(atlas, query))


def like_regions(atlas: EmbeddingSource, question: Question) -> Neighbors:
    """Return the regions that matching cells form: the best cell of each, and statistics of its cells."""
    query, cells, similarity = _search(atlas, question)
    regions = group(cells, similarity)
    count = len(regions) if question.k is None else min(question.k, len(regions))
    description = _describe(atlas, question) | {"matching_cells": int(cells.size), "regions": len(regions)}
    best = _matches(question, regions.best_cell[:count], np.asarray(regions.best_similarity[:count], np.float32))
    return Neighbors.from_matches(
        best,
        atlas.manifest.entry(question.res),
        description,
        extra={
            "mean_similarity": regions.mean_similarity[:count],
            "cells": regions.count[:count],
            "area_km2": regions.area_km2[:count],
        },
        outlines=[outline(cells[regions.label == number]) for number in range(count)],
        scene=question.scene(atlas, query),
    )


def like_rows(
    atlas: EmbeddingSource,
    question: Question,
    path: str | Path,
    columns: dict[str, str | None],
    *,
    explain: bool = False,
) -> Neighbors:
    """Return the rows of a table most like the examples; ``columns`` as :meth:`Candidates.open` takes them."""
    from ..tables.candidates import Candidates
    from ..tables.example_differences import differences
    from ..tables.ranking import rank_table

    query = question.query(atlas)
    candidates = Candidates.open(path, **columns)
    ranked = rank_table(
        atlas.index(question.res),
        query,
        candidates,
        k=question.k,
        examples=question.examples(),
        exclude_within_km=question.exclude_within_km,
        apart_km=question.apart_km,
        allowed=question.bounds.holds if question.bounds else None,
        min_similarity=question.least,
    )
    about_table: dict[str, Any] = {
        "file": str(path),
        **{name: value for name, value in columns.items() if value is not None},
        "rows": ranked.read,
        "candidates": ranked.candidates,
        "left_out": ranked.left_out,
    }
    table, extra = ranked.table, {}
    if explain:
        extra = _similarity_to_each_example(atlas, question, ranked.cell)
        points = [sphere.PointSet(*place.locations(question.res)) for place in question.wanted]
        differing = differences(candidates, ranked.table, points)
        for name in differing.table.column_names:
            table = table.append_column(name, differing.table.column(name))
        about_table["example_rows"] = differing.row.tolist()
        about_table["example_rows_km"] = differing.distance_km.round(1).tolist()
    description = _describe(atlas, question) | {"table": about_table}
    del description["ocean"]  # rows of a table may be anywhere
    matches = Matches(
        cell=ranked.cell,
        lon=ranked.lon,
        lat=ranked.lat,
        similarity=ranked.similarity,
        distance_km=question.examples().distance_km(ranked.lon, ranked.lat),
    )
    entry, scene = atlas.manifest.entry(question.res), question.scene(atlas, query)
    return Neighbors.from_matches(matches, entry, description, extra=extra, table=table, scene=scene)


def _search(atlas: EmbeddingSource, question: Question) -> tuple[NDArray[np.float32], grid.Cells, Similarity]:
    """Return the query vector, and the cells that answer the question with their similarity."""
    index, query = atlas.index(question.res), question.query(atlas)
    found = index.engine.top(query, question.k or len(index), question.where(index))
    return query, index.cells[found.rows], found.similarity


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
    named = [(f"like_{i}", place) for i, place in enumerate(question.wanted, 1)]
    named += [(f"unlike_{i}", place) for i, place in enumerate(question.unwanted, 1)]
    return {name: (vectors @ question.vector(atlas, place)).astype(np.float32) for name, place in named}
