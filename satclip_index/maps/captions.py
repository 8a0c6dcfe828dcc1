"""The title and the subtitle of a map."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .map_contents import Example

_NAMED = 3  # examples in a title


def title_of(query: dict[str, Any], examples: Sequence[Example]) -> str:
    """Return the question as a title."""
    wanted, unwanted = ([item.name for item in examples if item.wanted is side] for side in (True, False))
    if not wanted:
        return "Like nothing else on Earth" if "unusual" in query else "Places"
    kind = "Regions" if "regions" in query else "Rows" if "table" in query else "Places"
    return f"{kind} like {_listed(wanted)}" + (f", unlike {_listed(unwanted)}" if unwanted else "")


def subtitle_of(query: dict[str, Any], count: int) -> str:
    """Return the number of results and the rules of the search."""
    if "table" in query:
        what = f"rows of {Path(query['table']['file']).name}" + (
            f" where {query['table']['where']}" if "where" in query["table"] else ""
        )
    else:
        what = ("regions" if "regions" in query else "places") + ("" if query.get("ocean", True) else " on land")
    rules = [f"the {count} most alike {what}"]
    if "unusual" in query:
        rules = [f"the {count} {what} whose best match beyond {query['beyond_km']:,g} km is worst"]
    if query.get("exclude_within_km"):
        rules.append(f"at least {query['exclude_within_km']:,g} km away")
    if query.get("apart_km"):
        rules.append(f"{query['apart_km']:,g} km apart")
    for name in ("within", "outside"):
        rules += [f"{name} {_area_name(item)}" for item in query.get(name, ())]
    if "bbox" in query:
        rules.append("in the box " + ", ".join(f"{side:g}" for side in query["bbox"]))
    if "min_similarity" in query:
        rules.append(f"similarity {query['min_similarity']:.3f} or more")
    text = ", ".join(rules)
    return text[0].upper() + text[1:]


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:_NAMED])
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _area_name(item: Any) -> str:
    return Path(item).name if isinstance(item, str) else "an area"
