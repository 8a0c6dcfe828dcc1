"""What a person asks on the page, in a real browser."""

import io
import json
import shlex

import numpy as np
import pytest
from PIL import Image

from satclip_index.geo import grid
from satclip_index.geo.gazetteer import continents

from ..conftest import CLI, child_environment
from ..processes import finished
from .conftest import ask, at, click, picture, rows, settled

pytestmark = pytest.mark.browser
BOX = {"type": "Polygon", "coordinates": [[[60, 5], [100, 5], [100, 35], [60, 35], [60, 5]]]}
CSV = "name,lon,lat,population\nNairobi,36.8,-1.3,4000000\nLima,-77,-12,9000000\nCairo,31.2,30,20000000\n"


def numbers(page, name):
    return np.array([float(row[name].replace(",", "")) for row in rows(page)])


def test_a_click_on_nairobi_colours_the_earth_and_finds_places_on_other_continents(visit, world):
    page = visit()
    assert picture(page) is None
    click(page, 36.8, -1.3)
    shown = picture(page)
    assert (shown["width"], shown["height"], shown["across"]) == (1024, 512, 360)
    assert shown["colors"] > 100
    found = rows(page)
    assert len(found) == 10
    best = continents(numbers(page, "Lon")[:3], numbers(page, "Lat")[:3])
    assert best[0] != "Africa"
    assert best.count("Africa") <= 1
    lon, lat = map(float, page.evaluate("new URLSearchParams(location.search).get('like')").split(","))
    assert abs(lon - 36.8) < 0.5
    assert abs(lat + 1.3) < 0.5
    expected = world.like((lon, lat), exclude_within_km=2000, apart_km=500)
    assert [int(row["Cell"], 16) for row in found] == expected.cell.tolist()
    assert page.locator("#summary").inner_text().startswith("10 places like ")


def test_a_negative_changes_the_answer_and_can_be_weighed_and_removed(visit, world):
    page = visit("?like=Nairobi")
    before = rows(page)
    click(page, 20, 5, shift=True)
    assert page.locator("#examples li").count() == 2
    assert "Not 20." in page.locator("#examples li").nth(1).inner_text()
    assert rows(page) != before
    ask(page, lambda: page.get_by_label("Weight of Nairobi, KE").fill("3") or page.keyboard.press("Enter"))
    assert "like Nairobi:3 --unlike " in page.locator("#command").inner_text()
    ask(page, lambda: page.locator("#examples li").nth(1).get_by_role("button").click())
    assert [row["Cell"] for row in rows(page)] == [row["Cell"] for row in before]
    page.get_by_label("A place: city, lon,lat or H3 cell").fill("Cairo")
    ask(page, lambda: page.get_by_role("button", name="Unlike", exact=True).click())
    assert "unlike=Cairo" in page.url


def test_the_exclusion_is_a_slider_that_keys_move(visit):
    page = visit("?like=Nairobi&apart=0")
    nearest = numbers(page, "Distance, km").min()
    slider = page.get_by_label("Distance from the examples")
    slider.focus()
    for _ in range(2):
        ask(page, lambda: page.keyboard.press("PageUp"))
    km = float(slider.input_value())
    assert km > 2000
    assert numbers(page, "Distance, km").min() >= km > nearest - 1000
    assert page.locator("output[for=exclude]").inner_text() == f"{km:,.0f} km"
    ask(page, lambda: page.keyboard.press("Home"))
    assert numbers(page, "Distance, km").min() < 500


def test_least_similarity_number_and_sea_are_rules(visit):
    page = visit("?like=Nairobi&exclude=0&apart=0")
    ask(page, lambda: page.get_by_label("Number of results").fill("40") or page.keyboard.press("Tab"))
    assert len(rows(page)) == 40
    page.get_by_label("Minimum similarity").focus()
    ask(page, lambda: page.keyboard.press("End"))
    assert "Found only " in page.locator("#notes").inner_text()
    ask(page, lambda: page.keyboard.press("Home"))
    ask(page, lambda: page.get_by_label("include ocean").check())
    assert "ocean=1" in page.url
    ask(page, lambda: page.get_by_label("H3 res").select_option("1"))
    assert {row["Cell"][1] for row in rows(page)} == {"1"}


def test_an_area_is_drawn_by_clicks_and_holds_every_answer(visit):
    page = visit("?like=Nairobi")
    page.get_by_role("button", name="Draw").click()
    for i, (lon, lat) in enumerate([(60, 5), (100, 5), (100, 35), (60, 35)]):
        page.mouse.click(*at(page, lon, lat))
        page.wait_for_selector(f"#frame[data-corners='{i + 1}']")
    ask(page, lambda: page.get_by_role("button", name="Close the area").click())
    lon, lat = numbers(page, "Lon"), numbers(page, "Lat")
    assert lon.size
    assert ((lon > 59) & (lon < 101) & (lat > 4) & (lat < 36)).all()
    assert page.locator("#command").inner_text().startswith("printf %s '{")
    ask(page, lambda: page.get_by_role("button", name="Remove the area").click())
    assert "within=" not in page.url


def test_a_geojson_file_bounds_the_search_and_a_broken_one_is_complained_of(visit, tmp_path):
    page = visit("?like=Nairobi")
    (tmp_path / "india.geojson").write_text(json.dumps(BOX))
    (tmp_path / "broken.geojson").write_text('{"type": "Polygon", "coordinates": [[[1, 2], ')
    field = page.get_by_label("or load a GeoJSON file of polygons")
    ask(page, lambda: field.set_input_files(tmp_path / "india.geojson"))
    inside = rows(page)
    lon, lat = numbers(page, "Lon"), numbers(page, "Lat")
    assert ((lon > 60) & (lon < 100) & (lat > 5) & (lat < 35)).all()
    assert "Searching within india.geojson" in page.locator("#area-status").inner_text()
    ask(page, lambda: field.set_input_files(tmp_path / "broken.geojson"))
    said = page.get_by_role("alert").inner_text()
    assert "not readable GeoJSON" in said
    assert "Traceback" not in said
    assert rows(page) == inside


def test_a_city_that_is_none_is_complained_of_with_the_nearest_spelling(visit):
    page = visit()
    page.get_by_label("A place: city, lon,lat or H3 cell").fill("Nairobbi")
    ask(page, lambda: page.keyboard.press("Enter"))
    assert "Did you mean Nairobi" in page.get_by_role("alert").inner_text()
    assert page.locator("#found").is_hidden()
    page.get_by_label("A place: city, lon,lat or H3 cell").fill("Nairobi")
    ask(page, lambda: page.keyboard.press("Enter"))
    assert page.locator("#error").inner_text() == ""
    assert len(rows(page)) == 10


def test_a_link_to_a_city_that_is_none_opens_a_page_that_works(visit):
    page = visit("?like=Nairobbi&at=36,0,40")
    assert "Did you mean Nairobi" in page.get_by_role("alert").inner_text()
    click(page, 36.8, -1.3)
    assert len(rows(page)) == 10


def test_ones_own_rows_are_searched_under_a_condition(visit, tmp_path):
    page = visit("?like=Tokyo&k=3")
    (tmp_path / "my.csv").write_text(CSV)
    page.get_by_label("A table of places").set_input_files(tmp_path / "my.csv")
    page.wait_for_selector("#where-form:not([hidden])")
    settled(page)
    assert sorted(row["name"] for row in rows(page)) == ["Cairo", "Lima", "Nairobi"]
    where = page.get_by_label("WHERE: SQL condition on its columns")
    for condition, names in (("population > 5e6", ["Cairo", "Lima"]), ("name = 'Lima'", ["Lima"])):
        where.fill(condition)
        ask(page, lambda: page.keyboard.press("Enter"))
        assert sorted(row["name"] for row in rows(page)) == names
    where.fill("population > (SELECT count(*) FROM read_csv('/etc/passwd'))")
    ask(page, lambda: page.keyboard.press("Enter"))
    assert "file system operations are disabled" in page.get_by_role("alert").inner_text()
    assert [row["name"] for row in rows(page)] == ["Lima"]


def test_a_table_that_is_too_large_is_not_sent(visit, tmp_path):
    page = visit("?like=Tokyo")
    (tmp_path / "big.csv").write_bytes(b"x" * 20_000_001)
    page.get_by_label("A table of places").set_input_files(tmp_path / "big.csv")
    page.wait_for_function("document.getElementById('error').textContent !== ''")
    assert "larger than 20 MB" in page.get_by_role("alert").inner_text()


def test_what_is_shown_can_be_downloaded(visit):
    page = visit("?like=Nairobi&k=5")
    cells = [row["Cell"] for row in rows(page)]
    got = {}
    for name in ("GeoJSON", "CSV", "PNG"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        got[name] = download.value.path().read_bytes()
    collection = json.loads(got["GeoJSON"])
    assert [feature["properties"]["cell"] for feature in collection["features"]] == cells
    assert [line.split(",")[1] for line in got["CSV"].decode().splitlines()[1:]] == cells
    drawn = np.asarray(Image.open(io.BytesIO(got["PNG"])).convert("RGB"))
    assert drawn.shape[0] > 400
    assert np.unique(drawn.reshape(-1, 3), axis=0).shape[0] > 100


def test_the_command_gives_the_same_answer(visit):
    page = visit("?like=Nairobi:2&like=-60.1,-3.2&unlike=Cairo&exclude=700&k=4")
    line = page.locator("#command").inner_text()
    done = finished([*CLI, *shlex.split(line)[1:], "--format", "jsonl"], env=child_environment())
    assert done.returncode == 0, done.stderr
    assert [json.loads(row)["cell"] for row in done.stdout.splitlines()] == [row["Cell"] for row in rows(page)]


def test_a_page_is_the_same_when_its_address_is_opened_again(visit):
    page = visit("?like=Nairobi")
    page.get_by_label("A place: city, lon,lat or H3 cell").fill("Lima:2")
    ask(page, lambda: page.keyboard.press("Enter"))
    page.get_by_label("Distance between results").focus()
    ask(page, lambda: page.keyboard.press("PageUp"))
    ask(page, lambda: page.get_by_role("button", name="Zoom in").click())
    address, before = page.url, rows(page)
    other = visit("?" + address.partition("?")[2])
    assert other.url == address
    assert rows(other) == before
    assert other.locator("#examples li").count() == 2
    page.reload()
    settled(page)
    assert rows(page) == before


def test_a_cell_and_coordinates_are_places(visit):
    page = visit()
    cell = grid.cell_to_text(grid.cells_of_points(36.8, -1.3, 2)[0])
    for text in (cell, "-70.5,-33.4"):
        page.get_by_label("A place: city, lon,lat or H3 cell").fill(text)
        ask(page, lambda: page.keyboard.press("Enter"))
    assert page.locator("#examples li").count() == 2
    ask(page, lambda: page.get_by_role("button", name="Start again").click())
    assert page.locator("#examples li").count() == 0
    assert picture(page) is None
