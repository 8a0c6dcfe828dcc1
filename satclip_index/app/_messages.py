"""The contents of messages to the page: text, rows, link and command."""

import io
from typing import Any

from ..formats.rows import plain_rows
from ..maps.color_scale import Scale, as_hex, palette
from ._answer_cache import Answer
from ._cli_command import like_command
from ._state import LONGEST_LINK_AREA, State

_RESULT_COLUMNS = ("rank", "nearest_city", "country", "similarity", "percentile", "distance_km", "lon", "lat", "cell")
_MOST_COLUMNS = 8  # of an uploaded table
_LEGEND_COLORS = 16
KINDS = {"geojson": "application/geo+json", "csv": "text/csv"}


def describe_state(state: State, atlas: str) -> dict[str, Any]:
    """Return the values of the controls."""
    return {
        "examples": [
            {"place": example.place, "weight": example.weight, "unlike": example.unlike} for example in state.examples
        ],
        "rules": {
            "k": state.k,
            "res": state.res,
            "exclude": state.exclude_within_km,
            "apart": state.apart_km,
            "min": state.min_similarity,
            "ocean": state.ocean,
            "where": state.where,
        },
        "within": (state.within_name or "drawn here") if state.within else "",
        "table": state.table,
        "view": [state.view.lon, state.view.lat, state.view.width],
        "link": state.to_link(),
        "command": like_command(state, atlas) if state.like() else "",
    }


def describe_answer(answer: Answer, scale: Scale) -> dict[str, Any]:
    """Return the text and the rows of the results."""
    places = answer.places
    columns = [*_RESULT_COLUMNS, *[name for name in places.columns() if name not in _RESULT_COLUMNS][:_MOST_COLUMNS]]
    rows = [[row[name] for name in columns] for row in plain_rows(places.to_arrow())]
    return {
        "labels": list(answer.labels),
        "summary": summary_of(answer),
        "notes": _notes(answer),
        "columns": columns,
        "rows": rows,
        "legend": _legend(scale),
    }


def summary_of(answer: Answer) -> str:
    """Return a summary of the results in one or two sentences."""
    state, places = answer.state, answer.places
    wanted = [_brief(label) for label, example in zip(answer.labels, state.examples, strict=True) if not example.unlike]
    unwanted = [_brief(label) for label, example in zip(answer.labels, state.examples, strict=True) if example.unlike]
    what = " and ".join(wanted) + (f", unlike {' and '.join(unwanted)}" if unwanted else "")
    if not len(places):
        return f"There is no place like {what} under these rules."
    many = "1 place" if len(places) == 1 else f"{len(places)} places"
    best = (
        f"{places.nearest_city[0]}, {places.country[0]} (similarity {places.similarity[0]:.4f}, "
        f"{places.distance_km[0]:,.0f} km away)"
    )
    return f"{many} like {what}. Best: near {best}."


def download(answer: Answer, kind: str) -> str:
    """Return the results as a text file, of kind ``geojson`` or ``csv``."""
    text = io.BytesIO()
    answer.places.write_text(text, kind)
    return text.getvalue().decode()


def _brief(label: str) -> str:
    """Return the name of a city, or the coordinates of another place."""
    name, _, where = label.partition(": ")
    return name if where else label


def _notes(answer: Answer) -> list[str]:
    """Return notes below the summary."""
    state, notes = answer.state, []
    if len(answer.places) < state.k:
        similarity = "" if state.min_similarity is None else " or the minimum similarity"
        notes.append(
            f"Found only {len(answer.places)} of {state.k} places. Lower the distances{similarity}, or enlarge the "
            "area."
        )
    if len(state.within) > LONGEST_LINK_AREA:
        notes.append("The area is too large for a link: to open the link, the file must be loaded again.")
    if state.table:
        notes.append("The link does not contain the table: to open the link, the file must be loaded again.")
    return notes


def _legend(scale: Scale) -> dict[str, Any]:
    colors = palette()
    stops = [round(i * (len(colors) - 1) / (_LEGEND_COLORS - 1)) for i in range(_LEGEND_COLORS)]
    return {"colors": [as_hex(colors[i]) for i in stops], "ticks": scale.ticks()}
