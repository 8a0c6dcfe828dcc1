"""Start the server of the page, where what it needs is installed."""

from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError

if TYPE_CHECKING:
    from ..atlas import Atlas


def serve_map(atlas: "Atlas", **options: Any) -> None:
    """Serve the map of an atlas, as :func:`satclip_index.app._server.serve_map` does, until it is told to end.

    Raises
    ------
    MissingExtraError
        If Bokeh is not installed.
    """
    try:
        from . import _server
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] not in ("bokeh", "tornado", "jinja2"):
            raise
        raise MissingExtraError("bokeh", "map") from None
    _server.serve_map(atlas, **options)
