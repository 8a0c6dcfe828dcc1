import io
import pickle
import sys
import threading
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from satclip_index.errors import MissingExtraError, OutputError
from satclip_index.maps.color_scale import Scale, palette
from satclip_index.maps.heatmap import WORLD, MapView, heat_map
from satclip_index.maps.map_contents import Example, Picture
from satclip_index.maps.matplotlib_map import DPI, draw, png_of, svg_of

PACIFIC = (100.0, -50.0, 260.0, 60.0)


@pytest.fixture(scope="module")
def found(atlas):
    return atlas.like(["Nairobi", "Lima"], unlike="Cairo", k=8)


def colour_at(image, bounds, lon, lat):
    """Return the colour of the pixel that a place lies in."""
    west, south, east, north = bounds
    column = ((lon - west) % 360) / (east - west) * image.shape[1]
    row = (north - lat) / (north - south) * image.shape[0]
    return image[int(row), int(column)]


@pytest.mark.parametrize("bounds", [WORLD, PACIFIC])
def test_a_place_has_the_colour_of_its_similarity(atlas, found, bounds):
    figure = found.plot(bounds=bounds)
    (image,) = figure.axes[0].images
    assert image.get_extent() == [bounds[0], bounds[2], bounds[1], bounds[3]]
    assert image.origin == "upper"
    scale = Scale(atlas.manifest.entry(2))
    everything = atlas.like(["Nairobi", "Lima"], unlike="Cairo", k=10_000, exclude_within_km=0, apart_km=0)
    seen = 0
    for lon, lat, similarity in zip(everything.lon, everything.lat, everything.similarity, strict=True):
        if bounds[1] < lat < bounds[3] and (lon - bounds[0]) % 360 < bounds[2] - bounds[0]:
            expected = palette()[round(scale.position(np.float32([similarity]))[0] * 255)]
            assert colour_at(image.get_array(), bounds, lon, lat).tolist() == [*expected, 255]
            seen += 1
    assert seen > 200
    assert colour_at(image.get_array(), bounds, -140.0, 10.0)[3] == 0  # the Pacific, where none could be an answer


def test_pins_point_at_the_answers_and_examples(found):
    axes = found.plot().axes[0]
    at = {text.get_text(): text.xy for text in axes.texts}
    for rank, lon, lat in zip(found.rank, found.lon, found.lat, strict=True):
        assert at[str(rank)] == pytest.approx((lon, lat))
    assert at["Nairobi, KE"] == pytest.approx((36.82, -1.28), abs=0.1)
    assert at["Cairo, EG"] == pytest.approx((31.25, 30.06), abs=0.1)


def test_a_rendered_map_is_neither_mirrored_nor_shifted(atlas, found):
    shown = found.picture()
    pixels = np.asarray(Image.open(io.BytesIO(png_of(draw(shown)))).convert("RGB")).astype(int)
    image = shown.image()
    rendered = pixels[62 : 62 + shown.height, 16 : 16 + shown.width]
    inside = image[..., 3] > 0
    assert np.median(np.abs(rendered[inside] - image[inside][:, :3]).max(axis=1)) <= 3
    shifted = np.roll(image, 3, axis=1)
    assert (
        np.abs(rendered[inside] - image[inside][:, :3]).mean()
        < np.abs(rendered[inside] - shifted[inside][:, :3]).mean()
    )
    sea = np.array([0xDB, 0xE3, 0xE8])
    assert np.median(np.abs(rendered[~inside] - sea).max(axis=1)) == 0
    assert (pixels[:5] == 255).all()


def test_a_drawing_is_well_formed_and_the_same_every_time(found):
    first, again = (svg_of(found.plot(width=500)) for _ in range(2))
    assert first == again
    root = ET.fromstring(first)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{http://www.w3.org/2000/svg}image")) == 2  # the map and its scale
    ids = [part.get("id") for part in root.iter() if part.get("id")]
    assert len(ids) == len(set(ids))
    assert png_of(found.plot(width=500)) == png_of(found.plot(width=500))


def test_threads_draw_what_one_alone_draws_and_share_no_state(found, run_python):
    expected, drawn = png_of(found.plot(width=300)), [None] * 4
    before = dict(mpl.rcParams)

    def work(i):
        drawn[i] = png_of(found.plot(width=300))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == [expected] * 4
    assert dict(mpl.rcParams) == before
    done = run_python("import satclip_index.maps.matplotlib_map, sys; sys.exit('matplotlib.pyplot' in sys.modules)")
    assert done.returncode == 0


def test_regions_and_areas_are_outlined(atlas):
    box = {"type": "Polygon", "coordinates": [[[160, -50], [-160, -50], [-160, 0], [160, 0], [160, -50]]]}
    found = atlas.regions((175.0, -40.0), k=3, within=box, exclude_within_km=0, ocean=True, min_similarity=-1)
    shown = found.picture(bounds=PACIFIC)
    assert len(shown.regions) >= 1
    assert {tuple(np.abs(line[:, 0]).round().astype(int)) for line in shown.areas} <= {
        tuple(np.abs(line[:, 0]).round().astype(int)) for line in found.scene.areas
    }
    dashed = [line for line in draw(shown).axes[0].lines if line.get_linestyle() == "--"]
    lon = np.concatenate([line.get_xdata() for line in dashed])
    assert {160.0, 200.0} <= set(lon[np.isfinite(lon)].round(6))


def test_what_has_no_question_is_drawn_without_colours(atlas):
    lone = atlas.unusual(res=1, k=3)
    assert not list(draw(lone.picture()).axes[0].images)
    assert len(png_of(lone.plot())) > 10_000
    nothing = atlas.like((0, 0), exclude_within_km=30_000)
    assert len(png_of(nothing.plot())) > 10_000


def test_names_that_are_formulas_or_in_no_font_are_drawn_as_they_are():
    names = ["$x_1$", "\N{GRINNING FACE} a\nb", r"\alpha", "東京"]
    examples = tuple(Example(name, np.array([lon]), np.array([0.0]), True) for lon, name in enumerate(names, -90))
    shown = Picture("$t$", "100 % $", "%", (-180.0, -90.0, 180.0, 90.0), 400, 200, examples=examples)
    assert svg_of(draw(shown))


def test_a_picture_has_so_many_pixels(found):
    image = Image.open(io.BytesIO(png_of(found.plot(width=500))))
    assert image.size == (532, 250 + 214)
    assert found.plot(width=500).dpi == DPI


def test_an_answer_that_was_sent_elsewhere_can_still_be_drawn(atlas, found):
    there = pickle.loads(pickle.dumps(found))
    assert len(pickle.dumps(found)) < 100_000
    np.testing.assert_array_equal(there.picture(width=200).similarity, found.picture(width=200).similarity)
    np.testing.assert_array_equal(
        found.picture(width=200).similarity,
        heat_map(
            atlas,
            atlas.query_vector(["Nairobi", "Lima"], unlike="Cairo"),
            MapView(WORLD, 200, 100),
            land_only=True,
        ).similarity,
    )


def test_a_notebook_shows_a_map_above_the_table_and_the_table_alone_without_matplotlib(found, monkeypatch):
    shown = found._repr_html_()
    assert shown.startswith('<img alt="')
    assert shown.count("<tr>") == 9
    assert len(shown) < 300_000
    assert replace(found, scene=None)._repr_html_().startswith("<img")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert found._repr_html_().startswith("<table>")


def test_a_notebook_shows_the_table_when_the_atlas_is_gone(copy_of, atlas):
    import shutil

    import satclip_index as si

    root = copy_of(atlas)
    found = si.open_atlas(root).like("Nairobi", res=1)
    there = pickle.loads(pickle.dumps(found))
    shutil.rmtree(root)
    assert there._repr_html_().startswith("<table>")


def test_without_the_library_a_map_says_how_to_install_it(found, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"satclip-index\[map\]"):
        found.plot()
    with pytest.raises(MissingExtraError, match=r"satclip-index\[map\]"):
        found.save_map(tmp_path / "x.png")


def test_a_map_is_written_whole_or_not_at_all(found, tmp_path):
    for name, begin in (("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.html", b"<!DOCTYPE html>")):
        found.save_map(tmp_path / name)
        assert (tmp_path / name).read_bytes().lstrip().startswith(begin)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.SVG", "a.html", "a.png"]
    assert (tmp_path / "a.png").stat().st_size < 200_000
    assert (tmp_path / "a.SVG").stat().st_size < 1_500_000
    with pytest.raises(OutputError, match="there is no folder"):
        found.save_map(tmp_path / "none" / "a.png")


@pytest.mark.parametrize(
    ("width", "bounds"), [(300, WORLD), (868, WORLD), (1168, WORLD), (700, (20.0, -60.0, 60.0, 60.0))]
)
def test_no_text_is_clipped_or_lies_on_another(atlas, width, bounds):
    cities = ["Nairobi", "Springfield, Illinois", "36.8,-1.3", "Santa Cruz de la Sierra", "-179.9,-16.5"]
    found = atlas.like(cities, unlike=["São Paulo", "Saint Petersburg, RU"], k=18, bbox=(-180, -80, 180, 80))
    figure = found.plot(width=width, bounds=bounds)
    FigureCanvasAgg(figure).draw()
    texts = [text for part in (figure, figure.axes[0]) for text in part.texts if text.get_text()]
    boxes = [shapely.box(*Text.get_window_extent(text).extents) for text in texts]  # without the lines to their places
    paper = shapely.box(0, 0, *(figure.get_size_inches() * DPI))
    assert len(texts) > 12
    for i, box in enumerate(boxes):
        assert paper.covers(box), texts[i]
        for j in range(i):
            shared = box.intersection(boxes[j]).area
            assert shared < 0.1 * min(box.area, boxes[j].area), (texts[i], texts[j])
