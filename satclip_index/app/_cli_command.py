"""The command that gives the same answer as the page."""

import shlex

from ._state import LONGEST_LINK_AREA, State, number

_AREA_FILE = "area.geojson"


def like_arguments(state: State, atlas: str) -> list[str]:
    """Return the arguments of ``satclip-index like`` that ask what a state asks; files are named as the user has them.

    Parameters
    ----------
    state : State
        With an example to be like.
    atlas : str
        The atlas's folder, or URL.
    """
    found = list(state.like())
    for text in state.unlike():
        found += ["--unlike", text]
    found += ["-k", str(state.k), "--exclude-within", number(state.exclude_within_km)]
    found += ["--apart", number(state.apart_km)]
    if state.res is not None:
        found += ["--res", str(state.res)]
    if state.min_similarity is not None:
        found += ["--min-similarity", number(state.min_similarity)]
    if state.ocean:
        found.append("--ocean")
    if state.within:
        found += ["--within", _AREA_FILE if _fits(state) else state.within_name]
    if state.table:
        found += ["--table", state.table, *(["--where", state.where] if state.where else [])]
    return [*found, "--atlas", atlas]


def like_command(state: State, atlas: str) -> str:
    """Return the command as a line for a shell; an area that fits into it is written to a file first."""
    line = shlex.join(["satclip-index", "like", *like_arguments(state, atlas)])
    if state.within and _fits(state):
        return f"printf %s {shlex.quote(state.within)} > {_AREA_FILE} && {line}"
    return line


def _fits(state: State) -> bool:
    """Return whether the area goes into the line: one that came with a link has no file, nor has one that was drawn."""
    return len(state.within) <= LONGEST_LINK_AREA or not state.within_name
