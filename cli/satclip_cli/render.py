"""Everything the command prints: data on stdout, talk on stderr."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from satclip_index.errors import OutputError
from satclip_index.formats.rows import FORMATS, SUFFIXES, Row, plain_value, write_rows
from satclip_index.storage.atomic import atomic_file

if TYPE_CHECKING:
    import pyarrow as pa

    from satclip_index import Neighbors
    from satclip_index.formats.rows import Geometry
    from satclip_train.probes.scores import Evaluation

_DECIMALS = {
    "distance_km": 0,
    "area_km2": 0,
    "percentile": 2,
    "uniqueness": 2,
    "similarity": 4,
    "lon": 2,
    "lat": 2,
    "_sd": 2,
}
_SPARED_FIRST = ("cell", "lon", "lat")
FORMAT_HELP = f"table, {', '.join(FORMATS)}. By default from the name of -o; else table on a terminal, jsonl in a pipe."
_REPORTS = {".md": "markdown", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
REPORT_HELP = "table, markdown, json (everything), jsonl or csv. By default as for the other commands."


def say(text: str, *, quiet: bool = False) -> None:
    """Print a line of talk."""
    if not quiet:
        Console(stderr=True, highlight=False, soft_wrap=True).print(escape(text))


def complain(text: str) -> None:
    """Print an error: one line."""
    line = " ".join(text.split())
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]Error:[/] {escape(line)}")


@contextmanager
def progress_bar(title: str, unit: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function of (done, total) that draws a bar with rate and time left; None where nobody looks."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), _Rate(unit))
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Rate(ProgressColumn):
    """Units a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate, once there is one."""
        return Text(f"{task.speed:,.0f} {self._unit}/s" if task.speed else "", style="dim")


def choose_format(given: str | None, out: Path | None, *, geometry: str | None = None) -> str:
    """Return the format asked for, or what the file's name or the terminal implies; one that can hold a geometry."""
    kind = _format(given, out)
    if geometry and kind not in ("geojson", "parquet"):
        raise typer.BadParameter(f"Only geojson and parquet hold shapes, not {kind}.", param_hint="--geometry")
    return kind


def _format(given: str | None, out: Path | None) -> str:
    if given:
        if given not in ("table", *FORMATS):
            raise typer.BadParameter(f"{given!r} is not one of table, {', '.join(FORMATS)}.", param_hint="--format")
        return given
    if out:
        if out.suffix.lower() not in SUFFIXES:
            raise OutputError(f"The name {out} implies no format; end it in {', '.join(SUFFIXES)}, or give --format.")
        return SUFFIXES[out.suffix.lower()]
    return "table" if sys.stdout.isatty() else "jsonl"


def show_rows(
    rows: Iterator[Row],
    arrow: "Callable[[], pa.Table | pa.RecordBatchReader]",
    *,
    kind: str,
    out: Path | None,
    query: dict[str, Any] | None = None,
    limit: int | None = None,
) -> None:
    """Write an answer in a format, to stdout or to a file; a file appears whole or not at all.

    Parameters
    ----------
    rows : iterator of dict
        The answer, for text formats.
    arrow : function
        Returns the answer for Parquet; only one of the two is read.
    kind : str
        ``table`` or one of ``FORMATS``.
    out : Path, optional
        The file; stdout if there is none.
    query : dict, optional
        What was asked, kept in JSON, GeoJSON and Parquet.
    limit : int, optional
        Rows of a table on stdout; the rest is counted as left out.
    """
    if kind == "parquet":
        _write_parquet(arrow(), out)
    elif out:
        _write_file(out, lambda file: _write_text(rows, file, kind, query, None))
    else:
        _write_text(rows, sys.stdout, kind, query, limit)
        sys.stdout.flush()  # what is said afterwards comes afterwards


def show_places(answer: "Neighbors", *, geometry: "Geometry | None", kind: str, out: Path | None) -> None:
    """Write places as :func:`show_rows` does; in GeoJSON and Parquet they are drawn as points, or as polygons."""
    shape: Geometry = geometry or ("point" if answer.outlines is None else "polygon")
    rows = answer.features(shape) if kind == "geojson" else answer.rows()
    show_rows(rows, lambda: answer.to_arrow(geometry=shape), kind=kind, out=out, query=answer.query)


def show_document(document: dict[str, Any], kind: str) -> None:
    """Print a nested dictionary, as JSON or as a table of two columns."""
    if kind == "json":
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in document.items():
        table.add_row(name, escape(str(value)))
    _console(sys.stdout).print(table)


def choose_report(given: str | None, out: Path | None) -> str:
    """Return the format asked for a report, or what the file's name or the terminal implies."""
    kinds = ("table", *dict.fromkeys(_REPORTS.values()))
    if given and given not in kinds:
        raise OutputError(f"{given!r} is not a format of a report; expected {', '.join(kinds)}.")
    if out and not given and out.suffix.lower() not in _REPORTS:
        raise OutputError(f"The name {out} implies no format; end it in {', '.join(_REPORTS)}, or give --format.")
    implied = _REPORTS[out.suffix.lower()] if out and not given else None
    return given or implied or ("table" if sys.stdout.isatty() else "jsonl")


def show_report(evaluation: "Evaluation", *, kind: str, out: Path | None) -> None:
    """Write an evaluation: settings side by side for a reader, a row for each score or everything for a machine."""

    def write(file: IO[str]) -> None:
        if kind == "json":
            file.write(json.dumps(plain_value("", evaluation.document()), indent=1, ensure_ascii=False) + "\n")
        elif kind == "markdown":
            _write_markdown(evaluation.table(), file)
        elif kind == "table":
            _write_table(iter(evaluation.table()), file, None)
        else:
            write_rows(evaluation.rows(), file, kind=kind)

    if out:
        _write_file(out, write)
    else:
        write(sys.stdout)


def _write_markdown(rows: list[dict[str, str]], file: IO[str]) -> None:
    """Write rows as a Markdown table; a bar inside a value is escaped."""
    for cells in (list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)):
        file.write("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")


def _write_text(rows: Iterator[Row], file: IO[str], kind: str, query: dict[str, Any] | None, limit: int | None) -> None:
    if kind == "table":
        _write_table(rows, file, limit)
    else:
        write_rows(rows, file, kind=kind, query=query)


def _write_table(rows: Iterator[Row], file: IO[str], limit: int | None) -> None:
    shown = list(islice(rows, limit))
    if not shown:
        say("No rows.")
        return
    console = _console(file)
    names = _fitting(shown, console.width)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        value = shown[0][name]
        number = isinstance(value, int | float) and not isinstance(value, bool) and not _is_cell(name, value)
        table.add_column(name, justify="right" if number else "left", no_wrap=number or _is_cell(name, value))
    for row in shown:
        table.add_row(*(escape(_brief(name, row[name])) for name in names))
    console.print(table)
    if left_out := [name for name in shown[0] if name not in names]:
        say(f"Too narrow for {', '.join(left_out)}: widen the terminal, or take --format csv.")
    if limit and next(rows, None) is not None:
        say(f"Only the first {limit} rows are shown; take --format jsonl, or -o FILE, for all.")


def _fitting(rows: list[Row], width: int) -> list[str]:
    """Return the columns to show: of places, those that a narrow terminal has room for."""
    names = list(rows[0])
    widths = {name: max(len(name), *(len(_brief(name, row[name])) for row in rows)) for name in names}
    for spare in _SPARED_FIRST if "rank" in names else ():
        if sum(widths[name] + 2 for name in names) - 2 <= width:
            break
        names = [name for name in names if name != spare]
    return names


def _console(file: IO[str]) -> Console:
    """Return a console that never cuts a table short where nobody has a terminal's width."""
    return Console(file=file, highlight=False, width=None if file.isatty() else 200)


def _is_cell(name: str, value: Any) -> bool:
    return isinstance(value, int) and isinstance(plain_value(name, value), str)


def _brief(name: str, value: Any) -> str:
    value = plain_value(name, value)
    if isinstance(value, list) and len(value) > 6:
        return f"[{', '.join(_brief('', item) for item in value[:3])}, ... {len(value)} values]"
    if isinstance(value, float):
        decimals = next((digits for end, digits in _DECIMALS.items() if name.endswith(end)), None)
        return f"{value:.6g}" if decimals is None else f"{value:.{decimals}f}"
    return "" if value is None else str(value)


def _write_parquet(table: "pa.Table | pa.RecordBatchReader", out: Path | None) -> None:
    from satclip_index.storage.geoparquet import write_table

    if out:
        with atomic_file(out) as file:
            write_table(table, file)
    elif sys.stdout.isatty():
        raise OutputError("Parquet is not for a terminal; name a file with -o, or pipe it.")
    else:
        write_table(table, sys.stdout.buffer)


def _write_file(out: Path, write: Callable[[IO[str]], None]) -> None:
    with atomic_file(out) as file, TextIOWrapper(file, encoding="utf-8", newline="") as text:
        write(text)
