"""``satclip-index serve``."""

from typing import Annotated

import typer

from . import options
from .opening import open_local
from .render import say


def serve(
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free port.", min=0, max=65535)] = 5006,
    open: Annotated[bool, typer.Option("--open", help="Open the map in a web browser.")] = False,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. 0.0.0.0 makes the map reachable from other machines, under the names given "
            "with --allow-origin."
        ),
    ] = "127.0.0.1",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Another host name under which the map may be opened, such as behind a proxy. Can be repeated.",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Serve an interactive map: click a place to find similar ones. Stop it with Ctrl-C.

    Example: satclip-index serve --atlas world --open

    Example, behind a proxy: satclip-index serve --port 8080 --allow-origin maps.example.org:443
    """
    from satclip_index.app.launch import serve_map

    def ready(address: str) -> None:
        say(f"Map: {address} (stop with Ctrl-C)", quiet=quiet)
        if open:
            import webbrowser

            webbrowser.open(address)

    serve_map(
        open_local(atlas, quiet=quiet), name=atlas, host=host, port=port, allow_origins=allow_origin or [], ready=ready
    )
