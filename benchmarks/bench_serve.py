"""The map in a browser: from a click to the new picture, for one person and for twenty at once.

Takes the folder of an atlas; by default ./atlas, as `make demo` leaves it. It starts `satclip-index serve` and speaks
to it over loopback as the page does, by a websocket for each person, without drawing: twenty browsers would measure
themselves. The server and those who ask share the cores of one machine.
"""

import asyncio
import json
import random
import re
import statistics
import subprocess
import sys
import time
from typing import Any
from urllib.request import urlopen

from tornado.websocket import WebSocketClientConnection, websocket_connect

from common import describe_machine

COMMAND = [sys.executable, "-c", "from satclip_cli.main import main; main()", "serve", "--port", "0", "--atlas"]
PEOPLE, ROUNDS, SIZE = 20, 8, [886, 443]


class Person:
    """A page that is open; make one with :meth:`arrive`."""

    def __init__(self, socket: WebSocketClientConnection, channel: str) -> None:
        self._socket, self._channel, self._asked = socket, channel, 0

    @classmethod
    async def arrive(cls, address: str) -> "Person":
        """Load the page, and connect."""
        page = await asyncio.to_thread(lambda: urlopen(address).read().decode())
        token = re.search(r'"token":"([^"]+)"', page)
        roots = re.search(r'"roots":(\{[^}]*\})', page)
        assert token
        assert roots
        socket = await websocket_connect(
            address.replace("http", "ws") + "ws", subprotocols=["bokeh", token[1]], max_message_size=1 << 30
        )
        assert socket.protocol
        socket.protocol.set_nodelay(True)  # as browsers do
        for _ in range(3):
            await socket.read_message()  # the server says that it is ready
        person = cls(socket, list(json.loads(roots[1]))[1])
        await person.ask(do="hello", size=SIZE, link="")
        return person

    async def ask(self, **message: Any) -> tuple[float, int]:
        """Send what the page would, and return the seconds until it is answered, and the bytes that came."""
        self._asked += 1
        text = json.dumps({"n": self._asked, **message})
        event = {"kind": "ModelChanged", "model": {"id": self._channel}, "attr": "request", "new": text}
        start = time.perf_counter()
        for part in ({"msgid": str(self._asked), "msgtype": "PATCH-DOC"}, {}, {"events": [event]}):
            await self._socket.write_message(json.dumps(part))
        size = 0
        while True:
            frame = await self._socket.read_message()
            assert frame is not None, "the server closed the connection"
            size += len(frame)
            if isinstance(frame, str) and '"response"' in frame and f'\\"n\\": {self._asked},' in frame:
                assert '\\"kind\\": \\"state\\"' in frame, frame
                return time.perf_counter() - start, size

    async def click(self, rng: random.Random) -> tuple[float, int]:
        """Start again, and click somewhere."""
        await self.ask(do="clear")
        return await self.ask(do="add", place=f"{rng.uniform(-180, 180):.3f},{rng.uniform(-60, 75):.3f}")


async def measure(address: str) -> None:
    """Print a Markdown table."""
    rng = random.Random(0)
    people = [await Person.arrive(address) for _ in range(PEOPLE)]
    await people[0].click(rng)
    alone, sizes = zip(*[await people[0].click(rng) for _ in range(3 * ROUNDS)], strict=True)
    views = []
    for _ in range(ROUNDS):
        at = [rng.uniform(-180, 180), rng.uniform(-50, 50), rng.uniform(5, 60)]
        views.append((await people[0].ask(do="view", at=at, size=SIZE))[0])
    together: list[float] = []
    for _ in range(ROUNDS):
        for person in people:
            await person.ask(do="clear")
        places = [f"{rng.uniform(-180, 180):.3f},{rng.uniform(-60, 75):.3f}" for _ in people]
        found = await asyncio.gather(
            *(person.ask(do="add", place=place) for person, place in zip(people, places, strict=True))
        )
        together += [seconds for seconds, _ in found]
    print(describe_machine() + "\n")
    print(f"A picture and its places are {statistics.median(sizes) / 1e6:.2f} MB.\n")
    print("| what | median | 95th percentile | slowest |\n| --- | --- | --- | --- |")
    for what, seconds in (
        ("a click, one person", alone),
        ("a new view, zoomed in, one person", views),
        (f"a click, {PEOPLE} people at the same moment", together),
    ):
        p95 = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
        shown = " | ".join(f"{value * 1e3:.0f} ms" for value in (statistics.median(seconds), p95, max(seconds)))
        print(f"| {what} | {shown} |")


def main() -> None:
    """Start the server, measure, and stop it."""
    folder = sys.argv[1] if len(sys.argv) > 1 else "atlas"
    server = subprocess.Popen([*COMMAND, folder], stderr=subprocess.PIPE, text=True)
    assert server.stderr
    try:
        address = re.search(r"http://\S+/", server.stderr.readline())
        assert address, server.stderr.read()
        asyncio.run(measure(address[0]))
    finally:
        server.terminate()
        server.wait(timeout=20)


if __name__ == "__main__":
    main()
