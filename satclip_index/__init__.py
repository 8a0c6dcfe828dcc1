"""Find the places on Earth that are like this one.

>>> import satclip_index as si
>>> atlas = si.build_atlas("atlas", res=[3, 4])    # doctest: +SKIP
>>> atlas.like("Nairobi").to_pandas()              # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .atlas import Atlas as Atlas
    from .atlas import open_atlas as open_atlas
    from .build import build_atlas as build_atlas
    from .encoder import Encoder as Encoder
    from .errors import SatclipIndexError as SatclipIndexError
    from .joining import embed_table as embed_table
    from .neighbors import Neighbors as Neighbors
    from .places import Place as Place
    from .sql import connect as connect
    from .verify import verify_atlas as verify_atlas

# Each name is imported when it is first used, so that `import satclip_index` loads no torch, pyarrow or duckdb.
_HOMES = {
    "Atlas": "atlas",
    "Encoder": "encoder",
    "Neighbors": "neighbors",
    "Place": "places",
    "SatclipIndexError": "errors",
    "build_atlas": "build",
    "connect": "sql",
    "embed_table": "joining",
    "open_atlas": "atlas",
    "verify_atlas": "verify",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
