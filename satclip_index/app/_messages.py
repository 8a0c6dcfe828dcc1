"""What the page is told of an answer: words, rows, the link and the command."""

import io
from typing import Any

from ..formats.rows import plain_rows
from ..maps.color_scale import Scale, as_hex, palette
from ._answer_cache import Answer
from ._cli_command import like_command
from ._state import LONGEST_LINK_AREA, State

_OURS = ("rank", "nearest_city", "country", "similarity", "percentile", "distance_km", "lon", "lat", "cell")
_MOST_COLUMNS = 8  # of a user's table
_LEGEND_COLORS = 16
KINDS = {"geojson": "application/geo+json", "csv": "text/csv"}


def describe_state(state: State, atlas: str) -> dict[str, Any]:
    """Return what the controls show."""
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
    """Return an answer's words and rows."""
    places = answer.places
    columns = [*_OURS, *[name for name in places.columns() if name not in _OURS][:_MOST_COLUMNS]]
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
    """Return the answer in a sentence or two."""
    state, places = answer.state, answer.places
    wanted = [_brief(label) for label, example in zip(answer.labels, state.examples, strict=True) if not example.unlike]
    unwanted = [_brief(label) for label, example in zip(answer.labels, state.examples, strict=True) if example.unlike]
    what = " and ".join(wanted) + (f", unlike {' and '.join(unwanted)}" if unwanted else "")
    if not len(places):
        return f"No place like {what} qualifies."
    many = "1 place" if len(places) == 1 else f"{len(places)} places"
    best = (
        f"{places.nearest_city[0]}, {places.country[0]} (similarity {places.similarity[0]:.4f}, "
        f"{places.distance_km[0]:,.0f} km away)"
    )
    return f"{many} like {what}. Best: near {best}."


def download(answer: Answer, kind: str) -> str:
    """Return the places as text: ``geojson`` or ``csv``."""
    text = io.BytesIO()
    answer.places.write_text(text, kind)
    return text.getvalue().decode()


def _brief(label: str) -> str:
    """Return a city's name, or where a place is."""
    name, _, where = label.partition(": ")
    return name if where else label


def _notes(answer: Answer) -> list[str]:
    """Return what else should be known."""
    state, said = answer.state, []
    if len(answer.places) < state.k:
        least = "" if state.min_similarity is None else ", or the least similarity"
        said.append(
            f"Only {len(answer.places)} of {state.k} places qualify; lower the kilometres{least}, or widen the area."
        )
    if len(state.within) > LONGEST_LINK_AREA:
        said.append("The area has too many points for a link: who opens the link has to load the file.")
    if state.table:
        said.append("A link names the table and does not hold it: who opens the link has to load the file.")
    return said


def _legend(scale: Scale) -> dict[str, Any]:
    colors = palette()
    stops = [round(i * (len(colors) - 1) / (_LEGEND_COLORS - 1)) for i in range(_LEGEND_COLORS)]
    return {"colors": [as_hex(colors[i]) for i in stops], "ticks": scale.ticks()}
