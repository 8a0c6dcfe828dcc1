import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from satclip_index.maps.bokeh_map import draw
from satclip_index.maps.map_contents import Picture

from ..processes import finished

CHROMIUM = shutil.which("chromium")
EVIL = "</script><script>document.title='pwned'<!--"


class Elements(HTMLParser):
    """The tags of a page with their attributes, and what its scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.title, self.inside = [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "title":
            self.title += data
        self.inside = ""


@pytest.fixture(scope="module")
def found(atlas):
    return atlas.like("Nairobi", k=6)


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "like.html"
    found.save_map(path)
    return path


def test_a_page_fetches_nothing(page):
    text = page.read_text()
    elements = Elements(text)
    for tag, attributes in elements.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert not (attributes.get(name) or "").startswith(("http:", "https:", "//")), (tag, attributes)
    styles = " ".join(re.findall(r"<style[^>]*>(.*?)</style>", text, flags=re.DOTALL))
    assert "@import" not in styles
    assert not re.search(r"url\(\s*['\"]?(https?:)?//", styles)
    assert not [tag for tag, _ in elements.tags if tag in ("link", "iframe", "object", "embed", "base")]
    assert elements.title == "Places like Nairobi, KE"
    assert len(text) < 4_000_000


def test_the_image_of_a_page_is_that_of_the_picture(found):
    picture = found.picture()
    plot = draw(picture)
    (image,) = (item for item in plot.renderers if type(item.glyph).__name__ == "Image")
    glyph, mapper = image.glyph, image.glyph.color_mapper
    assert (glyph.x, glyph.y, glyph.dw, glyph.dh) == (-180, -90, 360, 180)
    steps = image.data_source.data["image"][0][::-1]  # Bokeh's first row is the southernmost
    painted = picture.image()
    assert ((steps == 0) == (painted[..., 3] == 0)).all()
    shown = np.array([tuple(bytes.fromhex(color[1:])) for color in mapper.palette])
    colours = shown[(steps[steps > 0] - mapper.low).astype(int)]
    assert np.abs(colours.astype(int) - painted[steps > 0][:, :3]).max() <= 2  # the two palest are one
    assert (mapper.low, mapper.high, len(mapper.palette)) == (0.5, 255.5, 255)


def test_the_answers_of_a_page_are_where_they_are_and_say_what_they_are(found):
    plot = draw(found.picture())
    (dots,) = (item for item in plot.renderers if "detail" in item.data_source.data)
    data = dots.data_source.data
    np.testing.assert_array_equal(data["lon"], found.lon)
    np.testing.assert_array_equal(data["lat"], found.lat)
    assert data["name"][0] == f"{found.nearest_city[0]}, {found.country[0]}"
    assert data["detail"][0] == f"similarity {found.similarity[0]:.3f}, {found.distance_km[0]:,.0f} km away"


def test_names_cannot_write_the_page(atlas, tmp_path):
    where = {"type": "Point", "coordinates": [10.0, 50.0]}
    evil = tmp_path / f"{EVIL.replace('/', '')}.geojson"
    evil.write_text(json.dumps(where))
    (tmp_path / "t.csv").write_text(f'lon,lat,"name"\n20,30,"{EVIL}"\n')
    for index, asked in enumerate(({}, {"table": tmp_path / "t.csv"})):
        path = tmp_path / f"{index}.html"
        atlas.like(evil, **asked, k=2).save_map(path)
        text = path.read_text()
        assert "<script>document" not in text
        assert "<!--.geojson" not in re.sub(r"<title>.*?</title>", "", text)
    picture = Picture(EVIL, EVIL, EVIL, (-180.0, -90.0, 180.0, 90.0), 300, 150)
    from satclip_index.maps.bokeh_map import page_of

    assert "<script>document" not in page_of(picture, "").decode()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_browser_shows_the_page_with_its_colours(found, page, tmp_path):
    options = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"]
    options += ["disable-background-networking", "disable-component-update", f"user-data-dir={tmp_path / 'profile'}"]
    options += [f"screenshot={tmp_path / 'shot.png'}", "window-size=1400,900", "virtual-time-budget=8000"]
    command = [CHROMIUM, *(f"--{option}" for option in options), page.as_uri()]
    assert finished(command).returncode == 0
    from PIL import Image

    pixels = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB")).astype(int)
    picture = found.picture()
    image = picture.image()
    sea = np.array([0xDB, 0xE3, 0xE8])
    expected = np.where(image[..., 3:] > 0, image[..., :3], sea).astype(int)
    # The frame begins somewhere left of and above the map's first pixel: the best fit must be an exact one.
    parts = expected[100:500:7, 100:1100:7]
    rows, columns = np.arange(100, 500, 7), np.arange(100, 1100, 7)
    fits = {
        (x, y): np.median(np.abs(pixels[np.ix_(rows + y, columns + x)] - parts).max(axis=2))
        for x in range(40, 90)
        for y in range(60, 110)
    }
    assert min(fits.values()) <= 3
