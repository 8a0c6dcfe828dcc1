"""Everything the command prints: data on stdout, talk on stderr."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from satclip_index.formats.rows import FORMATS, SUFFIXES, Row, plain_rows, plain_value, write_rows
from satclip_index.formats.text import write_table_text

from .output import open_output, open_text_output

if TYPE_CHECKING:
    from satclip_index import Neighbors
    from satclip_index.database import Answer
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
_CELL = re.compile("8[0-9a-f]{14}")
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


def show_places(answer: "Neighbors", *, geometry: "Geometry | None", kind: str, out: Path | None) -> None:
    """Write places in a format, to a file or to stdout; in GeoJSON and Parquet as points or polygons."""
    shape: Geometry = geometry or ("point" if answer.outlines is None else "polygon")
    if kind == "table":
        show_table(plain_rows(answer.to_arrow()), out)
        return
    with open_output(out, kind) as file:
        if kind == "parquet":
            from satclip_index.storage.geoparquet import write_table

            write_table(answer.to_arrow(geometry=shape), file)
        else:
            answer.write_text(file, kind, geometry=shape)


def show_answer(answer: "Answer", *, kind: str, out: Path | None, limit: int) -> None:
    """Write the answer to an SQL query in a format, to a file or to stdout."""
    from satclip_index.formats.answers import TextAnswer
    from satclip_index.storage.geoparquet import write_table

    if kind == "parquet":
        with open_output(out, kind) as file:
            write_table(answer.to_arrow_reader(), file)
        return
    text = TextAnswer.of(answer)
    if kind == "table":
        show_table(plain_rows(text.reader), out, limit=None if out else limit)
    else:
        with open_output(out, kind) as file:
            write_table_text(text.reader, file, kind, geometry=text.geometry)


def show_table(rows: Iterator[Row], out: Path | None, *, limit: int | None = None) -> None:
    """Write rows as a table for people; rows beyond the limit are left out, with a note."""
    with open_text_output(out) as file:
        _write_table(rows, file, limit)


def show_document(document: dict[str, Any], kind: str) -> None:
    """Print a nested dictionary, as JSON or as a table of two columns."""
    if kind == "json":
        with open_output(None, kind) as file:
            file.write(json_text(document))
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
    if kind in ("markdown", "table"):
        with open_text_output(out) as text:
            write = _write_markdown if kind == "markdown" else _write_report_table
            write(evaluation.table(), text)
        return
    with open_output(out, kind) as file:
        if kind == "json":
            file.write(json_text(plain_value(evaluation.document())))
        else:
            write_rows(evaluation.rows(), file, kind=kind)


def json_text(document: Any) -> bytes:
    """Return a document as indented JSON."""
    return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode()


def _write_report_table(rows: list[dict[str, str]], file: IO[str]) -> None:
    _write_table(iter(rows), file, None)


def _write_markdown(rows: list[dict[str, str]], file: IO[str]) -> None:
    """Write rows as a Markdown table; a bar inside a value is escaped."""
    for cells in (list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)):
        file.write("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")


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
        number, cell = isinstance(value, int | float) and not isinstance(value, bool), _CELL.fullmatch(str(value))
        table.add_column(name, justify="right" if number else "left", no_wrap=number or cell is not None)
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


def _brief(name: str, value: Any) -> str:
    if isinstance(value, list) and len(value) > 6:
        return f"[{', '.join(_brief('', item) for item in value[:3])}, ... {len(value)} values]"
    if isinstance(value, float):
        decimals = next((digits for end, digits in _DECIMALS.items() if name.endswith(end)), None)
        return f"{value:.6g}" if decimals is None else f"{value:.{decimals}f}"
    return "" if value is None else str(value)
