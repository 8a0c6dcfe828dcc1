"""``satclip-index probe``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import options
from .render import REPORT_HELP, choose_report, progress_bar, say, show_report


class Protocol(StrEnum):
    """How rows are split into training and test rows."""

    folds = "folds"
    notebook = "satclip-notebook"


class Holdout(StrEnum):
    """The groups that are held out as a whole."""

    continent = "continent"


class Task(StrEnum):
    """The kind of prediction."""

    regression = "regression"
    classification = "classification"


def probe(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV, TSV, Parquet, GeoParquet, JSON or JSON lines.")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
    encoder: Annotated[
        list[str] | None, typer.Option(help="An encoder, as for build; may be repeated.", show_default="bluemarble")
    ] = None,
    protocol: Annotated[
        Protocol, typer.Option(help="Random and blocked folds, or the 50/50 split and MLP of SatCLIP's notebook.")
    ] = Protocol.folds,
    holdout: Annotated[
        Holdout | None, typer.Option(help="Test on each continent, after training on the others.")
    ] = None,
    continent_column: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Groups to hold out.", show_default="the nearest city's continent"),
    ] = None,
    mlp: Annotated[bool, typer.Option("--mlp", help="Add a small network to the linear probe.")] = False,
    task: Annotated[
        Task | None, typer.Option(help="The kind of prediction.", show_default="inferred from the column")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of repetitions, each with its own folds.", min=1)] = 3,
    folds: Annotated[int, typer.Option(help="Number of folds.", min=3)] = 5,
    block_degrees: Annotated[float, typer.Option(help="Edge of a block, in degrees.", min=0.01, max=90)] = 10.0,
    lon: Annotated[str | None, typer.Option(metavar="COLUMN", show_default="lon, lng, long, longitude or x")] = None,
    lat: Annotated[str | None, typer.Option(metavar="COLUMN", show_default="lat, latitude or y")] = None,
    format: Annotated[str | None, typer.Option("--format", help=REPORT_HELP, show_default=False)] = None,
    out: options.Out = None,
    quiet: options.Quiet = False,
) -> None:
    """Measure how well embeddings predict a column of a table, compared with baselines that use no image.

    Example: satclip-index probe stations.csv --target mean_temperature_c --encoder bluemarble --format markdown
    """
    from satclip_train.probes.table_report import evaluate_table

    kind = choose_report(format, out)
    if holdout and protocol is not Protocol.folds:
        raise typer.BadParameter("The notebook's protocol cannot be combined with --holdout.", param_hint="--protocol")
    with progress_bar("Probing", "fits", quiet=quiet) as progress:
        evaluation = evaluate_table(
            table,
            target,
            encoders=encoder or ["bluemarble"],
            protocol="holdout continent" if holdout or continent_column else protocol.value,
            task=task.value if task else None,
            lon=lon,
            lat=lat,
            continent_column=continent_column,
            folds=folds,
            seeds=seeds,
            mlp=mlp,
            block_degrees=block_degrees,
            log=lambda note: say(note, quiet=quiet),
            progress=progress,
        )
    show_report(evaluation, kind=kind, out=out)
