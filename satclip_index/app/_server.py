"""The web server of the map: on this machine only by default, and closed to pages of other origins."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from secrets import token_bytes
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets, create_hosts_allowlist
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.web import StaticFileHandler

from ..atlas import Atlas
from ..errors import QueryError, one_line
from ._answer_cache import AnswerCache
from ._bokeh_page import WEB, build_page

_THREADS = 2
_MOST_MESSAGE_BYTES = 4_000_000  # tables are uploaded in parts
_MOST_BODY_BYTES = 100_000  # nothing else is uploaded


def serve_map(
    atlas: Atlas,
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 5006,
    allow_origins: Sequence[str] = (),
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the map of an atlas until Ctrl-C or SIGTERM.

    Parameters
    ----------
    atlas : Atlas
    name : str, optional
        Folder or URL of the atlas in commands; by default its local folder.
    host : str
        Address to listen on.
    port : int
        Port to listen on; 0 for any free port.
    allow_origins : sequence of str
        Other ``HOST:PORT`` under which the page may be opened, such as those of a proxy.
    ready : function of str
        Called with the address of the page once it can be opened.

    Raises
    ------
    QueryError
        If the address or port cannot be used.
    """
    origins = check_origins(allow_origins)
    answers = AnswerCache(atlas, name)
    pool, slow = (ThreadPoolExecutor(threads, thread_name_prefix="satclip-index") for threads in (_THREADS, 1))
    sockets, bound = _listen(host, port)
    names = {"localhost", "127.0.0.1", f"[{host}]" if ":" in host else host}
    own = [f"{name}:{bound}" for name in sorted(names)]
    about = {"resolutions": atlas.resolutions, "encoder": atlas.manifest.encoder["name"]}
    about |= {"version": version("satclip-index")}
    make = partial(build_page, answers=answers, pool=pool, slow=slow, about=about)
    pool.submit(answers.warm_up)
    try:
        asyncio.run(_run(make, sockets, [*own, *origins], lambda: ready(f"http://{_browser_host(host)}:{bound}/")))
    finally:
        for threads in (pool, slow):
            threads.shutdown(wait=False, cancel_futures=True)


def _listen(host: str, port: int) -> tuple[list[socket.socket], int]:
    """Return listening sockets, and their port."""
    try:
        bound: tuple[list[socket.socket], int] = bind_sockets(host, port)
    except OSError as error:
        raise QueryError(_cannot_listen(error, host, port)) from None
    return bound


def check_origins(origins: Sequence[str]) -> list[str]:
    """Return origins as ``host:port``, or raise QueryError if one is invalid."""
    for origin in origins:
        if "*" in origin or "/" in origin or not origin.strip():
            raise QueryError(f"{origin!r} is not an origin; expected HOST:PORT, such as maps.example.org:443.")
    try:
        return list(create_hosts_allowlist(origins, None)) if origins else []
    except ValueError as error:
        raise QueryError(f"{error}; expected HOST:PORT, such as maps.example.org:443.") from None


class _PromptServer(HTTPServer):
    """Disables Nagle's algorithm, which would delay the many small writes of a response by 40 ms twice."""

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Accept a connection."""
        stream.set_nodelay(True)
        stream.set_nodelay = lambda value: None  # type: ignore[method-assign] # tornado resets it after a request
        super().handle_stream(stream, address)


async def _run(
    make: Callable[[Document], None], sockets: list[Any], origins: list[str], ready: Callable[[], None]
) -> None:
    """Serve until SIGINT or SIGTERM."""
    application = BokehTornado(
        {"/": Application(FunctionHandler(make))},
        extra_websocket_origins=origins,
        extra_patterns=[(r"/page/(.*)", StaticFileHandler, {"path": str(WEB)})],
        websocket_max_message_size_bytes=_MOST_MESSAGE_BYTES,
        # Session tokens are valid only for pages of this run of the server.
        secret_key=token_bytes(32),
        sign_sessions=True,
        check_unused_sessions_milliseconds=10_000,
        unused_session_lifetime_milliseconds=30_000,
    )
    http = _PromptServer(application, max_body_size=_MOST_BODY_BYTES)
    http.add_sockets(sockets)
    server = BaseServer(IOLoop.current(), application, http)
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stopped.set)
    server.start()
    ready()
    await stopped.wait()
    server.stop(wait=False)


def _browser_host(host: str) -> str:
    """Return the host name for the browser."""
    if host in ("127.0.0.1", "0.0.0.0", ""):
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _cannot_listen(error: OSError, host: str, port: int) -> str:
    """Return the message for a server that cannot listen."""
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use. Choose another with --port, or any free port with --port 0."
    if error.errno == errno.EACCES:
        return f"Port {port} requires administrator rights. Choose one above 1023, such as --port 5006."
    return f"{host}:{port} cannot be used ({one_line(error)}). Choose another --host or --port."
