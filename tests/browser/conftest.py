"""The real server over a small real atlas, and a real browser."""

import contextlib
import re
import shutil
from subprocess import PIPE
from urllib.parse import urlsplit

import pytest

import satclip_index as si

from ..conftest import CLI, child_environment
from ..processes import HANG_S, started

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# What it would otherwise do beside showing the page: ask the network for updates, and for a sandbox that root lacks.
_ARGUMENTS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_ARGUMENTS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Hold res 2 of the bundled encoder."""
    return si.build_atlas(tmp_path_factory.mktemp("world") / "atlas", res=[1, 2], device="cpu")


@pytest.fixture(scope="session")
def serve(world, tmp_path_factory):
    """Start the command, and return its address and process once it can be opened."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, cwd=None):
            command = [*CLI, "serve", "--atlas", world.path, *arguments]  # the last --atlas counts
            folder = cwd or tmp_path_factory.mktemp("served")
            process = stack.enter_context(
                started(command, stdout=PIPE, stderr=PIPE, text=True, cwd=folder, env=child_environment())
            )
            said = process.stderr.readline()
            found = re.search(r"http://\S+/", said)
            assert found, said + process.stderr.read()
            return found[0], process

        yield start


@pytest.fixture(scope="session")
def address_of_world(serve):
    return serve("--port", 0)[0]


@pytest.fixture
def address(address_of_world):
    return address_of_world


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.fail("No chromium; install it: apt-get install chromium. Or leave these tests out: -m 'not browser'")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS, timeout=1000 * HANG_S)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address):
    """Open the page; whatever it complains of, or asks of anybody else, fails the test."""
    contexts, wrong = [], []

    def open_page(query="", *, width=1280, height=800, dark=False, touch=False):
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
            has_touch=touch,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * HANG_S)
        page.on("pageerror", lambda error: wrong.append(f"page: {error}"))
        page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
        page.on("request", lambda request: _check_host(request.url, address, wrong))
        page.goto(address + query)
        settled(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def _check_host(url, address, wrong):
    parts = urlsplit(url)
    if parts.scheme not in ("blob", "data") and parts.netloc != urlsplit(address).netloc:
        wrong.append(f"{url} was asked for")


def settled(page):
    """Wait until what was asked is answered."""
    page.wait_for_selector("body[data-busy=no]:not([data-moving=yes])")


def at(page, lon, lat):
    """Return where a point of the Earth is on the screen."""
    box = page.locator("#frame").bounding_box()
    west, east, south, north = page.evaluate(
        "(() => { const map = Bokeh.documents[0].get_model_by_name('map');"
        "return [map.x_range.start, map.x_range.end, map.y_range.start, map.y_range.end]; })()"
    )
    lon += 360 * round(((west + east) / 2 - lon) / 360)
    return (
        box["x"] + box["width"] * ((lon - west) / (east - west)),
        box["y"] + box["height"] * ((north - lat) / (north - south)),
    )


def click(page, lon, lat, **options):
    """Click on a point of the Earth, and wait for the answer."""
    page.evaluate("scrollTo(0, 0)")
    before = page.evaluate("location.search")
    if options.pop("shift", False):
        page.keyboard.down("Shift")
    page.mouse.click(*at(page, lon, lat))
    page.keyboard.up("Shift")
    page.wait_for_function("before => location.search !== before", arg=before)
    settled(page)


def ask(page, act):
    """Do something that changes what is asked, and wait until the answer to it, or a complaint, is there."""
    settled(page)
    before = page.evaluate("document.body.dataset.question")
    act()
    page.wait_for_function("before => document.body.dataset.question !== before", arg=before)
    settled(page)


def rows(page):
    """Return the table of answers, a dictionary a row."""
    names = [text.strip(" ▲▼") for text in page.locator("#places thead th").all_inner_texts()]
    return [
        dict(zip(names, row.locator("td").all_inner_texts(), strict=True))
        for row in page.locator("#places tbody tr").all()
    ]


def picture(page):
    """Return what is known of the picture of similarity: its pixels, its place, and how many colours it has."""
    return page.evaluate(
        "(() => { const map = Bokeh.documents[0].get_model_by_name('map');"
        "const d = map.renderers[1].data_source.data; if (!d.image.length) return null;"
        "const [height, width] = d.image[0].shape; return {height, width, west: d.west[0], south: d.south[0],"
        "across: d.across[0], up: d.up[0], colors: new Set(d.image[0]).size}; })()"
    )
