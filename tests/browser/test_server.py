"""The server: who is let in, and how it ends."""

import base64
import json
import os
import re
import signal
import socket
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from ..conftest import CLI, child_environment
from ..processes import HANG_S, finished


def handshake(address, origin, token):
    """Return the status line that a websocket of some origin gets."""
    parts = urlsplit(address)
    lines = [
        "GET /ws HTTP/1.1",
        f"Host: {parts.netloc}",
        f"Origin: {origin}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        f"Sec-WebSocket-Protocol: bokeh, {token}",
    ]
    with socket.create_connection((parts.hostname, parts.port), timeout=HANG_S) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        return connection.recv(200).decode().splitlines()[0]


def token_of(address):
    with urlopen(address, timeout=HANG_S) as page:
        return re.search(r'"token":"([^"]+)"', page.read().decode())[1]


def test_only_pages_of_its_own_may_ask(address):
    token, port = token_of(address), urlsplit(address).port
    for origin in (f"http://localhost:{port}", f"http://127.0.0.1:{port}"):
        assert " 101 " in handshake(address, origin, token)
    for origin in ("http://evil.example", f"http://evil.example:{port}", "http://localhost:1", "null"):
        assert " 403 " in handshake(address, origin, token)


def test_another_name_is_let_in_when_it_is_named(serve):
    address, process = serve("--port", 0, "--allow-origin", "maps.example.org:443")
    assert " 101 " in handshake(address, "https://maps.example.org:443", token_of(address))
    assert " 403 " in handshake(address, "https://other.example.org:443", token_of(address))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err


def test_it_listens_on_this_machine_only(address):
    port = urlsplit(address).port
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for other in others:
        with socket.socket() as connection:
            connection.settimeout(2)
            assert connection.connect_ex((other, port)) != 0


def test_no_page_is_served_but_its_own(address):
    for path in ("page/../server.py", "page/%2e%2e/server.py", "page/nothing.js", "static/../../../setup.py"):
        with pytest.raises(HTTPError) as error:
            urlopen(address + path, timeout=HANG_S)
        assert error.value.code in (403, 404)
        error.value.close()


def test_a_port_that_is_taken_is_one_line_with_the_remedy(world):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = finished([*CLI, "serve", "--atlas", world.path, "--port", port], env=child_environment())
    assert done.returncode == 1
    assert done.stderr == f"Error: Port {port} is in use. Choose another with --port, or any free port with --port 0.\n"


def test_the_page_asks_nobody_else(address):
    with urlopen(address, timeout=HANG_S) as page:
        text = page.read().decode()
    assert not [link for link in re.findall(r'(?:src|href)="([^"]+)"', text) if link.startswith(("http", "//"))]
    assert json.loads(re.search(r'"roots":(\{[^}]*\})', text)[1])
