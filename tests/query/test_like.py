"""Regions, finer cells, rows of tables, explanations, many neighbours and the unusual, of a whole atlas."""

import csv
import io
import json
import math

import h3
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from satclip_index.encoder.location_encoder import unit_half
from satclip_index.errors import InvalidCellError, QueryError, ResolutionError, TableError
from satclip_index.geo import grid
from satclip_index.geo.geojson_shapes import read_shape
from satclip_index.geo.land_mask import is_land

from ..oracles import haversine_km, similarity, stored


@pytest.fixture(scope="module")
def columns(atlas):
    return {res: stored(atlas, res) for res in (1, 2)}


def stored_vector(columns, lon, lat):
    row = np.searchsorted(columns["cell"], np.uint64(int(h3.latlng_to_cell(lat, lon, 2), 16)))
    return columns["embedding"][row]


def components(cells):
    """Return the connected sets of some cells, by h3-py and a search of neighbours."""
    left, found = {f"{int(cell):x}" for cell in cells}, []
    while left:
        todo, region = [left.pop()], set()
        while todo:
            cell = todo.pop()
            region.add(cell)
            near = set(h3.grid_disk(cell, 1)) & left
            left -= near
            todo += near
        found.append(region)
    return found


@pytest.mark.parametrize("ocean", [False, True])
@pytest.mark.parametrize("place", [(36.82, -1.29), (178.0, -17.0), (20.0, -88.0)])
def test_regions_are_the_connected_matching_cells(atlas, columns, place, ocean):
    columns = columns[2]
    alike = similarity(columns["embedding"], stored_vector(columns, *place))
    least = np.quantile(alike, 0.9)
    allowed = (alike >= least) & (haversine_km(columns["lon"], columns["lat"], *place) >= 500)
    allowed &= np.ones(alike.size, bool) if ocean else columns["land"].astype(bool)
    found = atlas.regions(place, k=None, res=2, ocean=ocean, min_similarity=float(least))
    expected = components(columns["cell"][allowed])
    assert len(found) == len(expected) == found.query["regions"]
    best = {}
    for region in expected:
        rows = np.searchsorted(columns["cell"], np.array([int(cell, 16) for cell in region], dtype=np.uint64))
        rows = rows[np.lexsort((rows, -alike[rows]))]
        best[int(columns["cell"][rows[0]])] = (rows, region)
    order = sorted(best, key=lambda cell: (-alike[best[cell][0][0]], cell))
    assert found.cell.tolist() == order
    for i, cell in enumerate(order):
        rows, region = best[cell]
        assert found.similarity[i] == alike[rows[0]]
        assert found["mean_similarity"][i] == pytest.approx(alike[rows].mean(dtype=np.float64))
        assert found["cells"][i] == rows.size
        assert found["area_km2"][i] == pytest.approx(sum(h3.cell_area(c, "km^2") for c in region), rel=1e-6)
        shape = read_shape(json.loads(json.dumps(found.outlines[i])))
        assert shape.is_valid
        inside = shapely.intersects_xy(shape, columns["lon"], columns["lat"])
        assert set(np.flatnonzero(inside)) == set(rows)


def test_regions_as_geojson_are_polygons_with_all_columns_and_as_csv_have_none(atlas):
    found = atlas.regions("Nairobi", k=3, res=2, ocean=True, min_percentile=60)
    collection = found.to_geojson()
    assert [feature["geometry"]["type"] in ("Polygon", "MultiPolygon") for feature in collection["features"]] == [
        True
    ] * 3
    properties = collection["features"][0]["properties"]
    assert properties["area_km2"] == found["area_km2"][0]
    assert properties["lon"] == found.lon[0]
    text = io.BytesIO()
    found.write_text(text, "csv")
    assert text.getvalue().decode().splitlines()[0].endswith("country,mean_similarity,cells,area_km2")
    assert found.to_arrow().column_names[-3:] == ["mean_similarity", "cells", "area_km2"]
    assert "area_km2" in found._repr_html_()


def test_no_matching_cells_make_no_regions(atlas):
    found = atlas.regions("Nairobi", min_similarity=1.0, exclude_within_km=500)
    assert len(found) == 0
    assert found.to_geojson()["features"] == []


@pytest.mark.parametrize(
    "options", [{}, {"ocean": True, "apart_km": 0.0, "exclude_within_km": 0.0}, {"bbox": (-20, -35, 52, 37)}]
)
def test_zooming_gives_the_best_descendant_of_each_winner(atlas, encoder, columns, options):
    place = (36.82, -1.29)
    rules = {"exclude_within_km": 500.0, "apart_km": 300.0, "ocean": False, "bbox": None} | options
    winners = atlas.like(place, res=2, k=8, **options)
    found = atlas.like(place, res=2, k=8, zoom=4, **options)
    query = stored_vector(columns[2], *place).astype(np.float64)
    expected, encoded = [], 0
    for winner in winners.cell:
        below = sorted(h3.cell_to_children(f"{int(winner):x}", 4), key=lambda cell: int(cell, 16))
        lat, lon = np.array([h3.cell_to_latlng(cell) for cell in below]).T
        allowed = haversine_km(lon, lat, *place) >= rules["exclude_within_km"]
        if rules["bbox"]:
            west, south, east, north = rules["bbox"]
            allowed &= (west <= lon) & (lon <= east) & (south <= lat) & (lat <= north)
        if not rules["ocean"]:
            allowed &= is_land(lon, lat)
        for _, _, taken_lon, taken_lat in expected:
            allowed &= haversine_km(lon, lat, taken_lon, taken_lat) >= rules["apart_km"]
        if allowed.any():
            alike = (unit_half(encoder.encode(lon, lat))[0].astype(np.float64) @ query).astype(np.float32)
            best = int(np.argmax(np.where(allowed, alike, -np.inf)))
            expected.append((-alike[best], int(below[best], 16), lon[best], lat[best]))
        encoded += int(allowed.sum())
    expected.sort(key=lambda item: item[:2])
    assert found.cell.tolist() == [cell for _, cell, _, _ in expected]
    np.testing.assert_array_equal(found.similarity, np.array([-alike for alike, *_ in expected], np.float32))
    assert found.query["zoom"] == {"res": 4, "encoded": encoded, "winners_left_out": len(winners) - len(expected)}
    assert found.query["res"] == 2
    assert (winners.query["exact"], found.query["exact"]) == (True, False)


def write_csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def towns(tmp_path):
    rng = np.random.default_rng(3)
    rows = [
        [f"town {i}", round(rng.uniform(-180, 180), 4), round(rng.uniform(-85, 85), 4), int(rng.integers(1, 1000))]
        for i in range(400)
    ]
    rows += [["lost", "", "", 5], ["nowhere", 12, 95, 7]]
    return write_csv(tmp_path / "towns.csv", ["name", "lon", "lat", "people"], rows), rows


@pytest.mark.parametrize("where", [None, "people > 500 AND name <> 'town 3'"])
@pytest.mark.parametrize("bounds", [{}, {"bbox": (-90, -60, 90, 60)}])
def test_the_rows_of_a_table_are_the_candidates(atlas, columns, towns, where, bounds):
    path, rows = towns
    place = (36.82, -1.29)
    found = atlas.like(place, res=2, k=12, table=path, where=where, **bounds)
    usable = [row for row in rows[:400] if where is None or (row[3] > 500 and row[0] != "town 3")]
    query, vectors = stored_vector(columns[2], *place), [stored_vector(columns[2], row[1], row[2]) for row in usable]
    alike = similarity(np.array(vectors), query)
    taken = []
    for i in np.lexsort((np.arange(alike.size), -alike)):
        _, lon, lat, _ = usable[i]
        inside = not bounds or (-90 <= lon <= 90 and -60 <= lat <= 60)
        apart = all(haversine_km(lon, lat, usable[j][1], usable[j][2]) >= 300 for j in taken)
        if inside and apart and haversine_km(lon, lat, *place) >= 500 and len(taken) < 12:
            taken.append(i)
    assert found["name"].tolist() == [usable[i][0] for i in taken]
    assert found.lon.tolist() == [usable[i][1] for i in taken]
    np.testing.assert_array_equal(found.similarity, alike[taken])
    assert found["people"].tolist() == [usable[i][3] for i in taken]
    left_out = found.query["table"]["left_out"]
    assert sum(left_out.values()) == (2 if where is None else 0)
    assert found.query["table"]["candidates"] == len(usable)
    assert found.query["table"].get("where") == where
    assert "ocean" not in found.query


def test_explaining_a_table_says_how_its_numbers_differ(atlas, towns):
    path, rows = towns
    found = atlas.like(["36.82,-1.29", "10,50"], res=2, k=5, table=path, explain=True)
    people = np.array([row[3] for row in rows[:400]], dtype=float)
    near = [int(np.argmin([haversine_km(r[1], r[2], *at) for r in rows[:400]])) for at in ((36.82, -1.29), (10, 50))]
    assert found.query["table"]["example_rows"] == near
    expected = (found["people"] - people[near].mean()) / people.std()
    np.testing.assert_allclose(found["people_sd"].astype(float), expected)
    assert {"like_1", "like_2"} <= set(found.extra)
    sentences = found.explanations()
    assert len(sentences) == 5
    assert f"people {found['people_sd'][0]:+.2f} sd" in sentences[0]
    assert f"{found['like_1'][0]:.3f} to like 1" in sentences[0]
    assert f"{found.percentile[0]:.2f} %" in sentences[0]


def test_explaining_cells_gives_the_similarity_to_each_example(atlas, columns):
    found = atlas.like(["36.82,-1.29:3", "-60,-3"], unlike="10,50", res=2, k=6, explain=True)
    vectors = columns[2]["embedding"][np.searchsorted(columns[2]["cell"], found.cell)]
    for name, place in (("like_1", (36.82, -1.29)), ("like_2", (-60, -3)), ("unlike_1", (10, 50))):
        np.testing.assert_allclose(found[name], vectors @ stored_vector(columns[2], *place), atol=1e-6)
    assert atlas.like("36.82,-1.29", res=2, explain=True).extra == {}
    zoomed = atlas.like(["36.82,-1.29", "-60,-3"], res=2, zoom=3, k=3, explain=True)
    assert zoomed["like_1"].shape == (3,)


def test_a_table_that_cannot_be_read_or_placed_is_said(atlas, tmp_path):
    with pytest.raises(TableError, match=r"no-such\.csv"):
        atlas.like("Nairobi", table=tmp_path / "no-such.csv")
    bare = write_csv(tmp_path / "bare.csv", ["a", "b"], [[1, 2]])
    with pytest.raises(TableError, match="a, b"):
        atlas.like("Nairobi", table=bare)
    with pytest.raises(TableError, match="'east'"):
        atlas.like("Nairobi", table=bare, lon="east", lat="b")


def test_neighbors_of_many_cells_are_brute_force(atlas, land_atlas, columns):
    rng = np.random.default_rng(0)
    alike = similarity(columns[2]["embedding"], columns[2]["embedding"][0])
    cells = rng.permutation(columns[2]["cell"])[:300]
    done = []
    found = atlas.neighbors(cells, 5, res=2, progress=lambda *state: done.append(state))
    assert done[-1] == (300, 300)
    assert found.exact
    assert found.method in ("tree", "FAISS on the GPU, verified and re-ranked")
    np.testing.assert_array_equal(found.cell, cells)
    for i in range(0, 300, 7):
        row = np.searchsorted(columns[2]["cell"], cells[i])
        alike = similarity(columns[2]["embedding"], columns[2]["embedding"][row])
        order = np.lexsort((np.arange(alike.size), -alike))[:5]
        np.testing.assert_array_equal(found.neighbor[i], columns[2]["cell"][order])
        np.testing.assert_array_equal(found.similarity[i], alike[order])
    table = found.to_arrow()
    assert table.column_names == ["cell", "rank", "neighbor", "similarity"]
    assert table.num_rows == 1500
    by_text = atlas.neighbors([f"{int(c):x}" for c in cells], 5, res=2)
    np.testing.assert_array_equal(by_text.neighbor, found.neighbor)
    assert (land_atlas.neighbors(cells, 2, res=2).neighbor > 0).all(), "a cell at sea is encoded"
    everything = atlas.neighbors(cells[:2], 10_000, res=2)
    assert (everything.neighbor > 0).sum(axis=1).tolist() == [5882, 5882]


def test_neighbors_refuses_what_are_not_cells_of_the_resolution(atlas):
    with pytest.raises(InvalidCellError):
        atlas.neighbors([5], res=2)
    with pytest.raises(InvalidCellError, match="'nonsense'"):
        atlas.neighbors(["nonsense"], res=2)
    with pytest.raises(QueryError, match="not of resolution 2"):
        atlas.neighbors(grid.cells_at(1)[:3], res=2)
    with pytest.raises(ResolutionError):
        atlas.neighbors(grid.cells_at(3)[:3], res=3)
    assert len(atlas.neighbors(np.empty(0, np.uint64), 3)) == 0


@pytest.mark.parametrize(
    ("res", "ocean", "bbox", "beyond"),
    [(2, False, None, 1000.0), (1, True, None, 4000.0), (2, False, (-20, -35, 52, 37), 2500.0)],
)
def test_the_unusual_are_those_whose_best_match_far_away_is_worst(atlas, columns, res, ocean, bbox, beyond):
    columns = columns[res]
    lon, lat = columns["lon"], columns["lat"]
    open_to = np.ones(lon.size, bool) if ocean else columns["land"].astype(bool)
    asked = open_to & ((lon >= -20) & (lon <= 52) & (lat >= -35) & (lat <= 37) if bbox else True)
    rows, best, match = np.flatnonzero(asked), [], []
    for row in rows:
        alike = similarity(columns["embedding"], columns["embedding"][row])
        far = open_to & (haversine_km(lon, lat, lon[row], lat[row]) >= beyond)
        match.append(np.lexsort((np.arange(alike.size), -np.where(far, alike, -np.inf)))[0])
        best.append(alike[match[-1]])
    best, match = np.array(best), np.array(match)
    every = atlas.unusual(k=None, apart_km=0, res=res, ocean=ocean, bbox=bbox, beyond_km=beyond)
    order = np.lexsort((rows, best))
    np.testing.assert_array_equal(every.cell, columns["cell"][rows[order]])
    np.testing.assert_array_equal(every.similarity, best[order])
    np.testing.assert_array_equal(every["match_cell"], columns["cell"][match[order]])
    np.testing.assert_allclose(
        every.distance_km, haversine_km(lon[rows], lat[rows], lon[match], lat[match])[order], atol=0.01
    )
    expected = [100 * np.mean(np.delete(best, i) > best[i]) for i in order[:: len(order) // 50]]
    np.testing.assert_allclose(every["uniqueness"][:: len(order) // 50], expected)
    few = atlas.unusual(k=5, apart_km=1500, res=res, ocean=ocean, bbox=bbox, beyond_km=beyond)
    taken = []
    for i in order:
        near = [haversine_km(lon[rows[i]], lat[rows[i]], lon[rows[j]], lat[rows[j]]) < 1500 for j in taken]
        if len(taken) < 5 and not any(near):
            taken.append(i)
    np.testing.assert_array_equal(few.cell, columns["cell"][rows[taken]])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"beyond_km": 0}, "most like itself"),
        ({"beyond_km": math.nan}, "expected a number of at least 0"),
        ({"apart_km": -1}, "expected a number of at least 0"),
        ({"beyond_km": 30_000}, "No cell has another beyond 30000 km"),
        ({"k": 0}, "at least 1"),
    ],
)
def test_what_is_unusual_about_the_question_is_said(atlas, options, text):
    with pytest.raises(QueryError, match=text):
        atlas.unusual(res=1, **options)


def test_nothing_unusual_where_there_is_nothing(atlas):
    assert len(atlas.unusual(res=1, bbox=(10.0, 10.0, 10.001, 10.001))) == 0


def test_every_answer_survives_parquet(atlas, towns, tmp_path):
    from satclip_index.storage.geoparquet import write_table

    answers = {
        "regions": atlas.regions("Nairobi", res=2, ocean=True),
        "rows": atlas.like("Nairobi", res=2, table=towns[0], explain=True),
        "unusual": atlas.unusual(res=1),
    }
    for name, answer in answers.items():
        write_table(answer.to_arrow(), tmp_path / f"{name}.parquet")
        again = pq.read_table(tmp_path / f"{name}.parquet")
        assert again.num_rows == len(answer) > 0
        assert again["cell"].to_pylist() == answer.cell.tolist()
        assert json.loads(again.schema.metadata[b"satclip_index"]) == json.loads(json.dumps(answer.query))
