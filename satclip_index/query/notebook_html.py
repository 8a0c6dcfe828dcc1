"""Tables as a notebook shows them: HTML."""

from base64 import b64encode
from collections.abc import Iterable
from html import escape
from typing import Any

from ..formats.rows import Row, plain_value
from ..storage.manifest import Manifest

_LONGEST = 80  # characters of a value


def html_table(rows: Iterable[Row], names: Iterable[str], *, note: str = "") -> str:
    """Return some columns of rows as an HTML table: numbers on the right, everything escaped, a note below."""
    names = list(names)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(name, row[name]) for name in names)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return table + (f"<p>{escape(note)}</p>" if note else "")


def png_html(image: bytes) -> str:
    """Return a picture as an HTML element that holds it."""
    return f'<img alt="" style="max-width: 100%" src="data:image/png;base64,{b64encode(image).decode()}" />'


def atlas_table(where: str, manifest: Manifest) -> str:
    """Return what an atlas holds as an HTML table, with its encoder and its size on disk below."""
    held = [{"res": res, "cells": of.count, "on land": of.land_count} for res, of in manifest.resolutions.items()]
    size = sum(file.size for file in manifest.files) / 1e6
    note = f"{where}: encoder {manifest.encoder['name']}, {manifest.dim} dimensions, {size:,.1f} MB on disk"
    return html_table(held, held[0], note=note)


def _cell(name: str, value: Any) -> str:
    value = plain_value(name, value)
    side = "right" if isinstance(value, int | float) and not isinstance(value, bool) else "left"
    return f'<td style="text-align: {side}">{escape(_brief(value))}</td>'


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
