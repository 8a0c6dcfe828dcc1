"""Start the web server of the map, if Bokeh is installed."""

from typing import TYPE_CHECKING, Any

from ..errors import require_extra

if TYPE_CHECKING:
    from ..atlas import Atlas


def serve_map(atlas: "Atlas", **options: Any) -> None:
    """Serve the map of an atlas until Ctrl-C or SIGTERM; see :func:`satclip_index.app._server.serve_map`.

    Raises
    ------
    MissingExtraError
        If Bokeh is not installed.
    """
    with require_extra("bokeh", "map"):
        from . import _server
    _server.serve_map(atlas, **options)
