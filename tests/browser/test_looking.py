"""How the page looks and can be reached, in a real browser."""

import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from satclip_index.geo import grid
from satclip_index.maps.color_scale import Scale

from .conftest import ask, at, click, picture, rows, settled

pytestmark = pytest.mark.browser


def colors_at(page, points):
    """Return the colour on the screen at each point of the Earth."""
    page.mouse.move(0, 0)
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    return np.array([shot[round(y), round(x)] for x, y in (at(page, lon, lat) for lon, lat in points)])


# At sea, far from any line and pin.
SEA = [(-30, 40), (-140, 0), (80, -30), (175, 35), (-175, 35), (-100, -50), (0, -50), (179, -52), (-179, -52)]


def assert_coloured(world, points, found):
    """Compare with what brute force gives at each point, or a pixel beside it."""
    query = world.query_vector("Nairobi").astype(np.float64)
    apart = []
    for east, north in itertools.product((-0.3, 0, 0.3), repeat=2):
        lon, lat = (np.array(points, dtype=float) + np.array([east, north])).T
        cells = grid.cells_of_points((lon + 180) % 360 - 180, lat, 2)
        similarity = (world.vectors_of(cells, np.float64) @ query).astype(np.float32)
        expected = Scale(world.manifest.entry(2)).paint(similarity)[:, :3].astype(int)
        apart.append(np.abs(found - expected).max(axis=1))
    assert np.min(apart, axis=0).max() <= 8, np.min(apart, axis=0)


def test_a_pixel_has_the_colour_of_its_place_neither_mirrored_nor_shifted(visit, world):
    page = visit("?like=Nairobi")
    assert_coloured(world, SEA, colors_at(page, SEA))


def test_the_map_goes_on_over_the_antimeridian(visit, world):
    page = visit("?like=Nairobi&at=180,0,200")
    points = [(170, 35), (190, 35), (179.5, -45), (180.5, -45), (185, 30)]
    assert_coloured(world, points, colors_at(page, points))
    click(page, 185, 20)
    assert re.search(r"like=-17[45]\.\d+%2C(19|20)", page.url)


def test_zooming_in_makes_a_sharper_picture_of_a_smaller_part(visit):
    page = visit("?like=Nairobi&at=36.8,-1.3,360")
    whole = picture(page)
    for _ in range(4):
        ask(page, lambda: page.get_by_role("button", name="Zoom in").click())
    close = picture(page)
    assert close["across"] < whole["across"] / 4
    assert close["across"] / close["width"] < whole["across"] / whole["width"] / 8
    ask(page, lambda: page.get_by_role("button", name="The whole Earth").click())
    assert picture(page)["across"] == 360


def test_dragging_and_the_wheel_move_the_map(visit):
    page = visit("?like=Nairobi")
    x, y = at(page, 0, 0)
    page.mouse.move(x, y)
    ask(page, lambda: [page.mouse.wheel(0, -400) for _ in range(5)])
    page.wait_for_function("new URLSearchParams(location.search).get('at') !== null")
    settled(page)

    def drag():
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 200, y, steps=5)
        page.mouse.up()

    before = page.url
    ask(page, drag)
    page.wait_for_function("before => location.href !== before", arg=before)
    settled(page)
    lon, _, width = map(float, page.evaluate("new URLSearchParams(location.search).get('at')").split(","))
    assert width < 360
    assert lon > 0
    assert page.locator("#examples li").count() == 1


def test_hovering_says_cell_place_similarity_and_percentile(visit, world):
    page = visit("?like=Nairobi")
    page.mouse.move(*at(page, 80, -30))
    page.wait_for_function("document.getElementById('tip').textContent.includes('percentile')")
    said = page.locator("#where").inner_text()
    cell, lon, lat, similarity, percentile = re.fullmatch(
        r"(\w+) · (\S+), (\S+) · similarity (\S+), percentile (\S+)", said
    ).groups()
    assert int(cell, 16) == grid.cells_of_points(float(lon), float(lat), 2)[0]
    expected = world.vectors_of(np.array([int(cell, 16)], np.uint64)) @ world.query_vector("Nairobi")
    assert float(similarity) == pytest.approx(float(expected[0]), abs=1e-3)
    assert 0 <= float(percentile) <= 100


def test_the_legend_names_its_ends(visit):
    page = visit("?like=Nairobi")
    assert page.locator("#legend").is_visible()
    ticks = page.locator("#legend-ticks span").all_inner_texts()
    assert ticks[0].startswith("all")
    assert ticks[-1].startswith("1 in 1,000")


def test_the_table_sorts_and_a_name_goes_to_its_place(visit):
    page = visit("?like=Nairobi")
    page.get_by_role("button", name="Distance, km").click()
    km = [float(row["Distance, km"].replace(",", "")) for row in rows(page)]
    assert km == sorted(km)
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Distance")
    page.get_by_role("button", name="Distance, km").click()
    assert [float(row["Distance, km"].replace(",", "")) for row in rows(page)] == sorted(km, reverse=True)
    first = rows(page)[0]
    ask(page, lambda: page.locator("#places tbody button").first.click())
    lon, lat, width = map(float, page.evaluate("new URLSearchParams(location.search).get('at')").split(","))
    assert (lon, lat, width) == pytest.approx((float(first["Lon"]), float(first["Lat"]), 20), abs=0.006)


def test_everything_can_be_done_with_the_keyboard(visit):
    page = visit()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    wanted = ["theme", "frame", "zoom-in", "zoom-out", "zoom-all", "add-place", "add-like", "add-unlike", "clear"]
    wanted += ["exclude", "apart", "min", "k", "res", "ocean", "draw", "area-file", "table-file"]
    assert [name for name in reached if name in wanted][: len(wanted)] == wanted
    page.locator("#frame").focus()
    assert page.evaluate("getComputedStyle(document.getElementById('frame')).outlineStyle") == "solid"
    ask(page, lambda: page.keyboard.press("+"))
    for _ in range(3):
        ask(page, lambda: page.keyboard.press("ArrowRight"))
    ask(page, lambda: page.keyboard.press("Enter"))
    assert page.locator("#examples li").inner_text().split("\n")[1].startswith("54.0")
    ask(page, lambda: page.keyboard.press("ArrowDown"))
    ask(page, lambda: page.keyboard.press("Shift+Enter"))
    assert page.locator("#examples li").count() == 2
    page.get_by_role("button", name="Draw").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "frame"
    for key in ("ArrowLeft", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
        page.keyboard.press("Enter")
    page.wait_for_selector("#frame[data-corners='3']")


def test_every_control_has_a_name(visit):
    page = visit("?like=Nairobi&unlike=Cairo")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, [tabindex=\"0\"]')].filter(item =>"
        "!(item.labels?.length || item.ariaLabel || item.textContent.trim())).map(item => item.outerHTML)"
    )
    assert unnamed == []
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("[aria-live]#summary, [role=alert]#error").count() == 2


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read_on_its_ground(visit, dark):
    page = visit("?like=Nairobi", dark=dark)
    assert page.evaluate("document.documentElement.dataset.theme") == ("dark" if dark else "light")
    colors = page.evaluate(
        "['paper', 'ink', 'quiet', 'panel', 'accent', 'on-accent', 'wrong'].map(name =>"
        "[name, getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()])"
    )
    light = {name: _luminance(value) for name, value in colors}
    pairs = [(ink, ground) for ink in ("ink", "quiet", "accent", "wrong") for ground in ("paper", "panel")]
    for one, other in [*pairs, ("on-accent", "accent")]:
        bright, dim = max(light[one], light[other]), min(light[one], light[other])
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (one, other)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == ("light" if dark else "dark")


def _luminance(value):
    """As WCAG 2.1 defines it."""
    channels = np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_a_telephone_shows_the_map_first_and_nothing_beyond_its_edge(visit):
    page = visit("?like=Nairobi&unlike=Cairo", width=400, height=800)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    boxes = [page.locator(name).bounding_box() for name in ("#frame", "#add", "#answer")]
    assert boxes[0]["y"] < 250
    assert boxes[0]["y"] < boxes[1]["y"] < boxes[2]["y"]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 400 for box in boxes)
    click(page, -60, -10)
    assert page.locator("#examples li").count() == 3


def test_nothing_overlaps_and_nothing_is_clipped(visit):
    for width in (400, 1280):
        page = visit("?like=Nairobi&like=Lhasa&unlike=Cairo", width=width)
        clipped = page.evaluate(
            "[...document.querySelectorAll('button, label, output, legend, figcaption, h1, li, .rule')]"
            ".filter(item => item.offsetParent && item.scrollWidth > item.clientWidth + 1 && item.clientWidth > 0)"
            ".map(item => item.outerHTML.slice(0, 80))"
        )
        assert clipped == []
        boxes = [item.bounding_box() for item in page.locator("#legend-ticks span").all()]
        for left, right in itertools.pairwise(boxes):
            assert left["x"] + left["width"] <= right["x"]
