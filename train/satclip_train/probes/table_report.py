"""Evaluation of encoders on a column of a table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from satclip_index.encoder.location_encoder import Encoder
from satclip_index.errors import TableError
from satclip_index.geo.gazetteer import continents
from satclip_index.progress import Progress
from satclip_index.tables.point_table import PointTable, read_points

from .baselines import features_by_name
from .evaluation import evaluate, evaluate_holdout, evaluate_notebook
from .folds import BLOCK_DEGREES
from .options import ProbeOptions
from .scores import Evaluation
from .target import Target, Task, find_target, mostly_numbers

Protocol = Literal["folds", "satclip-notebook", "holdout continent"]


def evaluate_table(
    path: str | Path,
    target: str,
    *,
    encoders: Sequence[str | Path] = ("bluemarble",),
    protocol: Protocol = "folds",
    task: Task | None = None,
    lon: str | None = None,
    lat: str | None = None,
    continent_column: str | None = None,
    folds: int = 5,
    seeds: int = 3,
    mlp: bool = False,
    block_degrees: float = BLOCK_DEGREES,
    log: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Return the scores of each encoder, and of each baseline, on a column of a table.

    Parameters
    ----------
    path : str or Path
        CSV, TSV, Parquet, GeoParquet, JSON or JSON lines with a point in each row.
    target : str
        The column to predict.
    encoders : sequence of str or Path
        Arguments of :meth:`Encoder.load`.
    protocol : {"folds", "satclip-notebook", "holdout continent"}
        See :func:`evaluate`, :func:`evaluate_notebook` and :func:`evaluate_holdout`.
    task : {"regression", "classification"}, optional
        Inferred from the column by default, see :func:`find_target`.
    lon, lat : str, optional
        Columns of degrees; by default those with the usual names.
    continent_column : str, optional
        Groups to hold out, instead of the continents of :func:`satclip_index.geo.gazetteer.continents`.
    folds, seeds, mlp, block_degrees
        See :class:`ProbeOptions`.
    log : function, optional
        Called with each note for the user before the fits start; the evaluation contains the notes as well.
    progress : function, optional
        Called with (fits done, fits in all).

    Returns
    -------
    Evaluation

    Raises
    ------
    TableError
        If the table cannot be read, lacks a column, or has nothing to predict.
    EncoderError
        If an encoder cannot be loaded.
    DataError
        If the points are in fewer blocks than there are folds.
    """
    options = ProbeOptions(folds=folds, seeds=seeds, mlp=mlp, block_degrees=block_degrees)
    columns = [target] + ([continent_column] if continent_column else [])
    table = read_points(path, columns, lon=lon, lat=lat)
    if task != "classification" and mostly_numbers(table.columns[target]):
        table = read_points(path, columns, lon=lon, lat=lat, numbers=[target])
    column, kept, notes = find_target(target, table.columns[target], task)
    notes[:0] = [f"rows {reason} left out: {count:,}" for reason, count in table.dropped.items()]
    if log is not None:
        for note in notes:
            log(note)
    loaded = [Encoder.load(source) for source in encoders]
    row_lon, row_lat = table.lon[kept], table.lat[kept]
    features = features_by_name(row_lon, row_lat, loaded)
    settings = {
        "table": Path(path).name,
        **_target_settings(column),
        "protocol": protocol,
        "seeds": seeds,
        "encoders": [{"name": encoder.name, "sha256": encoder.sha256} for encoder in loaded],
    }
    if protocol == "folds":
        scores = evaluate(features, column, row_lon, row_lat, options, progress=progress)
        settings |= {"folds": folds, "block_degrees": block_degrees}
    elif protocol == "satclip-notebook":
        scores = evaluate_notebook(features, column, seeds=seeds, progress=progress)
    else:
        continent = _continents(table, continent_column)[kept]
        scores = evaluate_holdout(features, column, continent, options, progress=progress)
    return Evaluation(settings, tuple(notes), tuple(scores))


def _target_settings(target: Target) -> dict[str, Any]:
    return {
        "target": target.name,
        "task": target.task,
        "rows": len(target.values),
        "classes": list(target.classes),
    }


def _continents(table: PointTable, column: str | None) -> NDArray[np.str_]:
    """Return the continent of each row, or its value in the column to use instead."""
    if column is None:
        return np.array(continents(table.lon, table.lat))
    groups = table.columns[column].astype(np.str_)
    if np.unique(groups).size > len(groups) / 2:
        raise TableError(
            f"Column {column!r} has a different value in most rows; expected a few names such as continents."
        )
    return groups
