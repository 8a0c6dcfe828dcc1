"""From a table and the names of encoders to an evaluation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from satclip_index.encoder.location_encoder import Encoder
from satclip_index.errors import TableError
from satclip_index.geo.gazetteer import continents
from satclip_index.tables.point_table import PointTable, read_points

from .baselines import contenders
from .evaluation import Progress, evaluate, evaluate_holdout, evaluate_notebook
from .folds import BLOCK_DEGREES
from .scores import Evaluation, Score
from .target import Target, Task, find_target, mostly_numbers

Protocol = Literal["folds", "satclip-notebook", "holdout continent"]
Tell = Callable[[str], None]


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
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Return what each encoder, and each baseline, is worth for a column of a table.

    Parameters
    ----------
    path : str or Path
        CSV, TSV, Parquet, GeoParquet, JSON or JSON lines with a point in each row.
    target : str
        The column to predict.
    encoders : sequence of str or Path
        As :meth:`Encoder.load` takes them.
    protocol : {"folds", "satclip-notebook", "holdout continent"}
        See :func:`evaluate`, :func:`evaluate_notebook` and :func:`evaluate_holdout`.
    task : {"regression", "classification"}, optional
        By default found from the column, see :func:`find_target`.
    lon, lat : str, optional
        Columns of degrees; by default those with the usual names.
    continent_column : str, optional
        What to hold out together, in place of the continents of :func:`satclip_index.geo.gazetteer.continents`.
    folds, seeds, mlp, block_degrees, progress
        As for :func:`evaluate`.
    tell : function, optional
        Called with each note as soon as it is known; the notes stand in the evaluation too.

    Returns
    -------
    Evaluation

    Raises
    ------
    TableError
        If the table cannot be read, lacks a column, or holds nothing that can be predicted.
    EncoderError
        If an encoder cannot be loaded.
    DataError
        If the points lie in fewer blocks than there are folds.
    """
    columns = [target] + ([continent_column] if continent_column else [])
    table = read_points(path, columns, lon=lon, lat=lat)
    if task != "classification" and mostly_numbers(table.columns[target]):
        table = read_points(path, columns, lon=lon, lat=lat, numbers=[target])
    found, kept, notes = find_target(target, table.columns[target], task)
    notes[:0] = [f"rows {reason} left out: {count:,}" for reason, count in table.dropped.items()]
    if tell:
        for note in notes:
            tell(note)
    loaded = [Encoder.load(source) for source in encoders]
    x, y = table.lon[kept], table.lat[kept]
    features = contenders(x, y, loaded)
    scores: list[Score]
    if protocol == "folds":
        scores = evaluate(
            features, found, x, y, folds=folds, seeds=seeds, mlp=mlp, block_degrees=block_degrees, progress=progress
        )
    elif protocol == "satclip-notebook":
        scores = evaluate_notebook(features, found, seeds=seeds, progress=progress)
    else:
        group = _groups(table, continent_column)[kept]
        scores = evaluate_holdout(features, found, group, seeds=seeds, mlp=mlp, progress=progress)
    settings = _settings(path, found, protocol, loaded, seeds) | (
        {"folds": folds, "block_degrees": block_degrees} if protocol == "folds" else {}
    )
    return Evaluation(settings, tuple(notes), tuple(scores))


def _settings(
    path: str | Path, target: Target, protocol: str, encoders: list[Encoder], seeds: int
) -> dict[str, object]:
    return {
        "table": Path(path).name,
        "target": target.name,
        "task": target.task,
        "rows": len(target.values),
        "classes": list(target.classes),
        "protocol": protocol,
        "seeds": seeds,
        "encoders": [{"name": encoder.name, "sha256": encoder.sha256} for encoder in encoders],
    }


def _groups(table: PointTable, column: str | None) -> NDArray[np.str_]:
    if column is None:
        return np.array(continents(table.lon, table.lat))
    groups = table.columns[column].astype(np.str_)
    if np.unique(groups).size > len(groups) / 2:
        raise TableError(f"Column {column!r} is different in most rows; expected a few names such as continents.")
    return groups
