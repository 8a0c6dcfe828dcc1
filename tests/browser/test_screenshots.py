"""The pictures of the README: ``make screenshots`` makes them of the demo's atlas, the tests of a small one."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from .conftest import settled

pytestmark = pytest.mark.browser
FOLDER, ATLAS = os.environ.get("SATCLIP_SCREENSHOTS"), os.environ.get("SATCLIP_SCREENSHOTS_ATLAS")
QUESTION = "?like=Nairobi"


@pytest.fixture
def address(request, serve):
    if ATLAS:
        atlas = Path(ATLAS).resolve()
        return serve("--port", 0, "--atlas", atlas.name, cwd=atlas.parent)[0]
    return request.getfixturevalue("address_of_world")


@pytest.mark.parametrize(
    ("name", "width", "height", "dark"),
    [("map.png", 1280, 800, False), ("map-dark.png", 1280, 800, True), ("map-narrow.png", 400, 800, False)],
)
def test_the_page_makes_a_picture_for_the_readme(visit, tmp_path, name, width, height, dark):
    page = visit(QUESTION, width=width, height=height, dark=dark)
    page.mouse.move(0, 0)
    settled(page)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    assert shot.size == (width, height)
    path = (Path(FOLDER).resolve() if FOLDER else tmp_path) / name
    few = shot.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    assert path.stat().st_size < 300_000
