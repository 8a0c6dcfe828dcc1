"""``satclip-index serve``."""

from typing import Annotated

import typer

from . import options
from .opening import opened
from .render import say


def serve(
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    port: Annotated[int, typer.Option(help="The port; 0 for any that is free.", min=0, max=65535)] = 5006,
    open: Annotated[bool, typer.Option("--open", help="Open the map in a browser.")] = False,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen at; 0.0.0.0 lets others ask the atlas, under names that --allow-origin gives."
        ),
    ] = "127.0.0.1",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Under which other name the page is opened, as behind a proxy. Pages of that name can then ask, too.",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Show the map in a browser: click a place, and see which others are like it. Ctrl-C ends it.

    Example: satclip-index serve --atlas world --open
    """
    from satclip_index.app.launch import serve_map

    def ready(address: str) -> None:
        say(f"The map is at {address} (Ctrl-C ends it).", quiet=quiet)
        if open:
            import webbrowser

            webbrowser.open(address)

    serve_map(
        opened(atlas, quiet=quiet), name=atlas, host=host, port=port, allow_origins=allow_origin or [], ready=ready
    )
