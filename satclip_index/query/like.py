"""Answers made of what a search found: cells, rows of a table, regions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geo import grid, sphere
from ..search.index import Index
from ..search.place_vectors import VectorsOf
from ..storage.manifest import ResolutionEntry
from ._regions import group, outline
from .neighbors import Neighbors
from .question import Question

Similarity = NDArray[np.float32]


def like_cells(
    question: Question,
    cells: grid.Cells,
    similarity: Similarity,
    entry: ResolutionEntry,
    asked: dict[str, Any],
    explain: VectorsOf | None = None,
) -> Neighbors:
    """Return cells, in their order, as an answer; ``explain`` gives the vectors of cells, if it is to be explained."""
    lon, lat = grid.cell_centers(cells)
    return Neighbors.at(
        cells,
        lon,
        lat,
        similarity=similarity,
        percentile=entry.percentile(similarity),
        distance_km=question.examples().distance_km(lon, lat),
        query=asked,
        extra=_to_each_example(question, cells, explain) if explain else None,
    )


def like_rows(
    question: Question,
    query: NDArray[np.float32],
    index: Index,
    entry: ResolutionEntry,
    asked: dict[str, Any],
    path: str | Path,
    columns: dict[str, str | None],
    explain: VectorsOf | None = None,
) -> Neighbors:
    """Return the rows of a table that are most like a query; ``columns`` as :meth:`Candidates.open` takes them."""
    from ..tables.candidates import Candidates
    from ..tables.example_differences import differences
    from ..tables.ranking import rank_table

    candidates = Candidates.open(path, **columns)
    ranked = rank_table(
        index,
        query,
        candidates,
        k=question.k,
        examples=question.examples(),
        exclude_within_km=question.exclude_within_km,
        apart_km=question.apart_km,
        allowed=question.bounds.holds if question.bounds else None,
        min_similarity=question.least,
    )
    del asked["ocean"]  # rows count wherever they are
    asked["table"] = {
        "file": str(path),
        **{name: value for name, value in columns.items() if value is not None},
        "rows": ranked.read,
        "candidates": ranked.candidates,
        "left_out": ranked.left_out,
    }
    table, extra = ranked.table, None
    if explain:
        extra = _to_each_example(question, ranked.cell, explain)
        points = [sphere.PointSet(*place.locations(question.res)) for place in question.wanted]
        differing = differences(candidates, ranked.table, points)
        for name in differing.table.column_names:
            table = table.append_column(name, differing.table.column(name))
        asked["table"]["example_rows"] = differing.row.tolist()
        asked["table"]["example_rows_km"] = differing.distance_km.round(1).tolist()
    return Neighbors.at(
        ranked.cell,
        ranked.lon,
        ranked.lat,
        similarity=ranked.similarity,
        percentile=entry.percentile(ranked.similarity),
        distance_km=question.examples().distance_km(ranked.lon, ranked.lat),
        query=asked,
        extra=extra,
        table=table,
    )


def like_regions(
    question: Question, cells: grid.Cells, similarity: Similarity, entry: ResolutionEntry, asked: dict[str, Any]
) -> Neighbors:
    """Return the regions that cells make up as an answer: the best cell of each, and what the region is like."""
    regions = group(cells, similarity)
    most = len(regions) if question.k is None else min(question.k, len(regions))
    answer = like_cells(
        question, regions.best_cell[:most], np.asarray(regions.best_similarity[:most], np.float32), entry, asked
    )
    asked |= {"matching_cells": int(cells.size), "regions": len(regions)}
    return replace(
        answer,
        extra={
            "mean_similarity": regions.mean_similarity[:most],
            "cells": regions.count[:most],
            "area_km2": regions.area_km2[:most],
        },
        outlines=[outline(cells[regions.label == number]) for number in range(most)],
    )


def _to_each_example(question: Question, cells: grid.Cells, vectors_of: VectorsOf) -> dict[str, Similarity]:
    """Return the similarity of cells to each of several examples; nothing where there is but one."""
    if len(question.wanted) + len(question.unwanted) == 1:
        return {}
    vectors = vectors_of(cells).astype(np.float64)
    named = [(f"like_{i}", place) for i, place in enumerate(question.wanted, 1)]
    named += [(f"unlike_{i}", place) for i, place in enumerate(question.unwanted, 1)]
    return {name: (vectors @ question.vector(place, vectors_of)).astype(np.float32) for name, place in named}
