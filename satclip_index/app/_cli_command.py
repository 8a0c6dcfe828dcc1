"""The command line that returns the results of the page."""

import shlex

from ._state import LONGEST_LINK_AREA, State, number

_AREA_FILE = "area.geojson"


def like_arguments(state: State, atlas: str) -> list[str]:
    """Return the arguments of ``satclip-index like`` for a state; files have the names that the user gave them.

    Parameters
    ----------
    state : State
        Must have an example to be like.
    atlas : str
        Folder or URL of the atlas.
    """
    arguments = list(state.like())
    for text in state.unlike():
        arguments += ["--unlike", text]
    arguments += ["-k", str(state.k), "--exclude-within", number(state.exclude_within_km)]
    arguments += ["--apart", number(state.apart_km)]
    if state.res is not None:
        arguments += ["--res", str(state.res)]
    if state.min_similarity is not None:
        arguments += ["--min-similarity", number(state.min_similarity)]
    if state.ocean:
        arguments.append("--ocean")
    if state.within:
        arguments += ["--within", _AREA_FILE if _embeds_area(state) else state.within_name]
    if state.table:
        arguments += ["--table", state.table, *(["--where", state.where] if state.where else [])]
    return [*arguments, "--atlas", atlas]


def like_command(state: State, atlas: str) -> str:
    """Return a shell command; a small area is first written to a file by the same command."""
    line = shlex.join(["satclip-index", "like", *like_arguments(state, atlas)])
    if state.within and _embeds_area(state):
        return f"printf %s {shlex.quote(state.within)} > {_AREA_FILE} && {line}"
    return line


def _embeds_area(state: State) -> bool:
    """Return whether the command contains the area: areas from a link, or drawn, have no file."""
    return len(state.within) <= LONGEST_LINK_AREA or not state.within_name
