"""HTML tables for notebooks."""

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from typing import Any

from ..formats.rows import Row, plain_value
from ..storage.manifest import Manifest

_LONGEST = 80  # characters of a value


def html_table(rows: Iterable[Row], names: Iterable[str], *, note: str = "") -> str:
    """Return columns of rows as an HTML table, escaped, with numbers aligned to the right and a note below."""
    names = list(names)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(row[name]) for name in names)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return table + (f"<p>{escape(note)}</p>" if note else "")


def png_html(image: bytes) -> str:
    """Return a PNG as an HTML element with its data."""
    return f'<img alt="" style="max-width: 100%" src="data:image/png;base64,{b64encode(image).decode()}" />'


def atlas_table(where: str, manifest: Manifest) -> str:
    """Return the resolutions of an atlas as an HTML table, with its encoder and its size on disk below."""
    rows = [
        {"res": res, "cells": entry.count, "on land": entry.land_count} for res, entry in manifest.resolutions.items()
    ]
    size = sum(file.size for file in manifest.files) / 1e6
    note = f"{where}: encoder {manifest.encoder['name']}, {manifest.dim} dimensions, {size:,.1f} MB on disk"
    return html_table(rows, rows[0], note=note)


def _cell(value: Any) -> str:
    value = plain_value(value)
    side = "right" if isinstance(value, int | float) and not isinstance(value, bool) else "left"
    return f'<td style="text-align: {side}">{escape(_brief(value))}</td>'


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
