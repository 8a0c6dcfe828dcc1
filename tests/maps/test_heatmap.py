import threading

import h3
import numpy as np
import pytest

from satclip_index.errors import QueryError, ResolutionError
from satclip_index.maps.heatmap import WORLD, HeatMaps, MapView, fitting_res, heat_map

from ..oracles import similarity, stored

VIEWS = {
    "the world": (WORLD, 60, 30),
    "over the antimeridian": ((150, -30, 210, 30), 31, 17),
    "the same, west above east": ((150, -30, -150, 30), 31, 17),
    "west of -180": ((-200, -10, -150, 40), 20, 20),
    "two turns": ((-360, -60, 360, 60), 48, 8),
    "the south pole": ((-180, -90, 180, -80), 40, 12),
    "the north pole": ((-20, 85, 200, 90), 40, 12),
    "beyond both poles": ((-180, -120, 180, 120), 20, 24),
    "a single cell": ((36.81, -1.31, 36.83, -1.29), 5, 5),
    "a huge zoom": ((36.8, -1.3, 36.8 + 1e-9, -1.3 + 1e-9), 6, 4),
    "one pixel": (WORLD, 1, 1),
}


def brute_heat(columns, query, bounds, width, height, res, *, land_only):
    """Return the similarity of each pixel, one h3-py call and one dot product each."""
    west, south, east, north = bounds
    east += 360 if east < west else 0
    alike = dict(zip(columns["cell"].tolist(), similarity(columns["embedding"], query), strict=True))
    land = dict(zip(columns["cell"].tolist(), columns["land"], strict=True))
    image = np.full((height, width), np.nan, np.float32)
    for i in range(height):
        lat = north - (i + 0.5) / height * (north - south)
        for j in range(width if -90 <= lat <= 90 else 0):
            lon = west + (j + 0.5) / width * (east - west)
            cell = int(h3.latlng_to_cell(lat, (lon + 180) % 360 - 180, res), 16)
            if cell in alike and (land[cell] or not land_only):
                image[i, j] = alike[cell]
    return image


@pytest.fixture(scope="module")
def tables(atlas, land_atlas):
    return {(opened, res): stored(opened, res) for opened in (atlas, land_atlas) for res in (1, 2)}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("land_only", [False, True])
def test_a_picture_is_what_h3_and_brute_force_say_of_each_pixel(atlas, land_atlas, tables, name, land_only):
    bounds, width, height = VIEWS[name]
    for opened in (atlas, land_atlas):
        query = opened.query_vector(["Nairobi", "Lima"], unlike="Cairo")
        for res in (1, 2):
            heat = HeatMaps(opened).heat(query, bounds, width, height, res=res, land_only=land_only)
            columns = tables[opened, res]
            expected = brute_heat(columns, query, bounds, width, height, res, land_only=land_only)
            np.testing.assert_array_equal(np.isnan(heat.similarity), np.isnan(expected))
            np.testing.assert_allclose(heat.similarity, expected, atol=1e-6)
            assert heat.similarity.dtype == np.float32
            assert heat.res == res


def test_a_pixel_is_as_similar_as_like_says_of_its_cell(atlas):
    asked = {"place": ["Nairobi:2", (10.0, 50.0)], "unlike": "Lima"}
    found = atlas.like(**asked, k=len(atlas.index()), exclude_within_km=0, apart_km=0, ocean=True)
    query = atlas.query_vector(**asked)
    for i in range(0, len(found), 97):
        lon, lat = found.lon[i], found.lat[i]
        heat = heat_map(atlas, query, MapView((lon - 1e-3, lat - 1e-3, lon + 1e-3, lat + 1e-3), 3, 3))
        np.testing.assert_allclose(heat.similarity, found.similarity[i], atol=1e-6)
        assert heat.res == 2


def test_the_query_of_one_place_is_its_cells_stored_vector(atlas):
    for res in (1, 2):
        query = atlas.query_vector((36.8, -1.3), res=res)
        np.testing.assert_array_equal(query, atlas.embedding_at(36.8, -1.3, res=res)[0])


def test_the_coarsest_resolution_is_taken_whose_cells_are_no_wider_than_two_pixels(atlas):
    km = {res: np.sqrt(h3.average_hexagon_area(res, unit="km^2")) for res in (1, 2)}
    assert fitting_res(atlas.manifest, MapView(WORLD, 1, 1)) == 1
    for width in range(10, 200):
        res = fitting_res(atlas.manifest, MapView(WORLD, width, width // 2))
        pixel = 40_030 / width
        assert (res == 1) == (km[1] <= 2 * pixel) or abs(km[1] / pixel - 2) < 0.05, width
    assert fitting_res(atlas.manifest, MapView((0, 0, 1, 1), 1000, 1000)) == 2  # there is none finer
    # Degrees of longitude are short near a pole, so the same pixels see more.
    assert fitting_res(atlas.manifest, MapView((0, 0, 180, 20), 30, 4)) == 1
    assert fitting_res(atlas.manifest, MapView((0, 70, 180, 90), 30, 4)) == 2


def test_a_view_is_looked_up_once_and_serves_every_question(atlas, monkeypatch):
    from satclip_index.maps import heatmap

    maps, looked = HeatMaps(atlas), []
    real = heatmap.grid.cells_of_points
    monkeypatch.setattr(heatmap.grid, "cells_of_points", lambda *given: looked.append(1) or real(*given))
    queries = [atlas.vectors_of(atlas.index(2).cells[row : row + 1])[0] for row in (3, 700)]
    images = [maps.heat(query, WORLD, 60, 30).similarity for query in queries]
    assert len(looked) == 1
    for query, image in zip(queries, images, strict=True):
        np.testing.assert_array_equal(image, heat_map(atlas, query, MapView(WORLD, 60, 30)).similarity)


def test_threads_may_share_the_pictures_of_an_atlas(atlas):
    maps, images = HeatMaps(atlas), [None] * 8
    queries = [atlas.vectors_of(atlas.index(2).cells[row : row + 1])[0] for row in range(8)]

    def draw(i):
        images[i] = maps.heat(queries[i], WORLD, 40, 20, res=2).similarity

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for query, image in zip(queries, images, strict=True):
        np.testing.assert_array_equal(image, heat_map(atlas, query, MapView(WORLD, 40, 20), res=2).similarity)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bounds": (0, 10, 20, 10)}, "is empty"),
        ({"bounds": (20, 0, 20, 10)}, "is empty"),
        ({"bounds": (0, 0, np.nan, 10)}, "is empty"),
        ({"bounds": (0, 0, np.inf, 10)}, "is empty"),
        ({"width": 0}, "width is 0"),
        ({"height": 2.5}, "height is 2.5"),
        ({"width": True}, "width is True"),
        ({"query": np.zeros(3, np.float32)}, "shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused(atlas, changed, said):
    given = {"query": atlas.query_vector("Nairobi"), "bounds": WORLD, "width": 4, "height": 2} | changed
    with pytest.raises(QueryError, match=said):
        HeatMaps(atlas).heat(**given)


def test_a_view_has_square_pixels_and_is_never_larger_than_asked_for():
    assert MapView.fit(WORLD, 900) == MapView(WORLD, 900, 450)
    assert MapView.fit((0, -90, 1, 90), 900) == MapView((0, -90, 1, 90), 5, 900)
    assert MapView.fit((0, 0, 1e-9, 90), 900) == MapView((0, 0, 1e-9, 90), 1, 900)
    assert MapView.fit((170, 0, -170, 10), 100) == MapView((170, 0, 190, 10), 100, 50)


def test_a_resolution_that_is_not_held_is_refused(atlas):
    with pytest.raises(ResolutionError, match="holds resolution 1, 2"):
        heat_map(atlas, atlas.query_vector("Nairobi"), res=3)
