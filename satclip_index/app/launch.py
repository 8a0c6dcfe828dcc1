"""Start the server of the page, where what it needs is installed."""

from typing import TYPE_CHECKING, Any

from ..errors import require_extra

if TYPE_CHECKING:
    from ..atlas import Atlas


def serve_map(atlas: "Atlas", **options: Any) -> None:
    """Serve the map of an atlas, as :func:`satclip_index.app._server.serve_map` does, until it is told to end.

    Raises
    ------
    MissingExtraError
        If Bokeh is not installed.
    """
    with require_extra("bokeh", "map"):
        from . import _server
    _server.serve_map(atlas, **options)
