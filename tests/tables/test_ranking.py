"""Ranking a table, against plain loops over its rows."""

import csv
import json
import math
from pathlib import Path

import duckdb
import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from satclip_index.errors import QueryError
from satclip_index.geo import grid, sphere
from satclip_index.geo.areas import Box
from satclip_index.geo.gazetteer import nearest_cities
from satclip_index.query.neighbors import Neighbors
from satclip_index.search.search_area import SearchArea
from satclip_index.search.search_rules import SearchRules
from satclip_index.tables.candidates import Candidates
from satclip_index.tables.example_differences import find_differences
from satclip_index.tables.ranking import rank_table
from satclip_index.tables.row_locations import TableColumns

from ..conftest import SHARED
from ..oracles import haversine_km, similarity, stored

NAIROBI = (36.82, -1.29)
BOX = (-100.0, -90.0, 170.0, 60.0)
TABLES = SHARED / "tables"


def at(*points):
    lon, lat = np.array(points, dtype=float).T
    return sphere.PointSet(lon, lat)


def ranked(atlas, path, *, query=NAIROBI, res=2, k=10, examples=(NAIROBI,), opened=None, **rules):
    table = Candidates.open(path, **(opened or {}))
    vector = atlas.embedding_at(*query, res=res)[0]
    return rank_table(atlas.index(res), vector, table, SearchRules(k=k, **rules), at(*examples))


def located(value, res):
    """Return lon, lat and cell of what a row says, or why it has none."""
    if isinstance(value, tuple):
        try:
            lon, lat = (float(part) for part in value)
        except (TypeError, ValueError):
            return "without coordinates"
        if math.isnan(lon) or math.isnan(lat):
            return "without coordinates"
        if not (-180 <= lon <= 360 and -90 <= lat <= 90):
            return "not on Earth"
        lon = lon - 360 if lon > 180 else lon
        return lon, lat, int(h3.latlng_to_cell(lat, lon, res), 16)
    if value is None or not 0 <= value < 2**64 or not h3.is_valid_cell(f"{value:x}"):
        return "not a cell"
    text = f"{value:x}"
    if h3.get_resolution(text) < res:
        return f"coarser than res {res}"
    lat, lon = h3.cell_to_latlng(text)
    return lon, lat, int(h3.cell_to_parent(text, res), 16)


def brute(columns, values, query, res, *, k, examples, exclude_within_km, apart_km, min_similarity, box=None):
    rows = {int(cell): i for i, cell in enumerate(columns["cell"])}
    alike = similarity(columns["embedding"], query)
    left_out, usable = {}, []
    for row, value in enumerate(values):
        place = located(value, res)
        if not isinstance(place, str) and place[2] not in rows:
            place = "not in the atlas"
        if isinstance(place, str):
            left_out[place] = left_out.get(place, 0) + 1
        else:
            usable.append((-alike[rows[place[2]]], row, *place))
    taken = []
    for minus, row, lon, lat, cell in sorted(usable):
        if len(taken) == k:
            break
        if exclude_within_km > 0 and any(haversine_km(lon, lat, *point) < exclude_within_km for point in examples):
            continue
        if min_similarity is not None and -minus < min_similarity:
            continue
        if box is not None and not (box[0] <= lon <= box[2] and box[1] <= lat <= box[3]):
            continue
        if apart_km > 0 and any(haversine_km(lon, lat, *other[2:4]) < apart_km for other in taken):
            continue
        taken.append((row, cell, lon, lat, -minus))
    return taken, left_out, len(usable)


def write(path, values, kind):
    """Write rows of a number and what says where they are."""
    if kind == "points.parquet":
        columns = {
            name: pa.array([value[i] for value in values], pa.float64()) for i, name in enumerate(("lon", "lat"))
        }
    elif kind in ("uint64.parquet", "int64.parquet"):
        columns = {"h3": pa.array(values, pa.uint64() if kind.startswith("u") else pa.int64())}
    else:
        forms = {"hex.csv": "{:x}", "0x.csv": "0x{:X}", "cells.csv": "{}"}
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            if kind == "points.csv":
                writer.writerows([["n", "Latitude", "LON"], *([i, lat, lon] for i, (lon, lat) in enumerate(values))])
            else:
                cells = ["" if value is None else forms[kind].format(value) for value in values]
                writer.writerows([["n", "hex"], *enumerate(cells)])
        return
    pq.write_table(pa.table({"n": pa.array(range(len(values)), pa.int64())} | columns), path)


def random_rows(rng, count, kind):
    """Return what says where rows are: points, cells, and what is neither; many of them more than once."""
    lon, lat = rng.uniform(-180, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    special = [(180.0, 10.0), (-180.0, 10.0), (0.0, 90.0), (77.0, 90.0), (0.0, -90.0), (179.9, -3.0), (-179.9, -3.0)]
    points = [*zip(lon.tolist(), lat.tolist(), strict=True), *special]
    if kind.startswith("points"):
        bad = [(math.nan, 3.0), (None, 2.0), (3.0, None), (361.0, 0.0), (0.0, 90.1), (-180.5, 0.0)]
        pool = points + bad + ([("east", "1"), ("", "")] if kind.endswith("csv") else [(math.inf, 0.0)])
    else:
        cells = [int(h3.latlng_to_cell(y, x, int(rng.integers(0, 6))), 16) for x, y in points]
        edge = int(h3.origin_to_directed_edges("811f3ffffffffff")[0], 16)
        pool = [*cells, None, 0, 17, edge, cells[0] ^ (1 << 50)]
    return [pool[i] for i in rng.integers(0, len(pool), count)]


KINDS = ["points.parquet", "points.csv", "uint64.parquet", "int64.parquet", "hex.csv", "0x.csv", "cells.csv"]


@pytest.fixture(scope="module")
def data(atlas, land_atlas):
    """Return a function, whose arrays hypothesis will not print."""
    read = {(name, res): stored(it, res) for name, it in (("whole", atlas), ("land", land_atlas)) for res in (1, 2)}
    return lambda name, res: read[name, res]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.sampled_from([0, 1, 5, 60, 300]),
    k=st.sampled_from([1, 3, 40]),
    exclude_within_km=st.sampled_from([0.0, 500.0, 9000.0]),
    apart_km=st.sampled_from([0.0, 10.0, 2000.0, 20100.0]),
    res=st.sampled_from([1, 2]),
    where=st.sampled_from(["whole", "land"]),
    narrow=st.booleans(),
    least=st.sampled_from([None, 0.0, 2.0]),
    several=st.booleans(),
)
def test_ranking_a_table_is_looking_at_every_row(
    atlas,
    land_atlas,
    data,
    tmp_path,
    kind,
    seed,
    count,
    k,
    exclude_within_km,
    apart_km,
    res,
    where,
    narrow,
    least,
    several,
):
    values = random_rows(np.random.default_rng(seed), count, kind)
    path = tmp_path / f"t.{kind.rpartition('.')[2]}"
    write(path, values, kind)
    examples = [NAIROBI, (179.0, 10.0)] if several else [NAIROBI]
    rules = {
        "k": k,
        "examples": examples,
        "exclude_within_km": exclude_within_km,
        "apart_km": apart_km,
        "min_similarity": least,
    }
    source = atlas if where == "whole" else land_atlas
    named = {"columns": TableColumns(cell="hex")} if "csv" in kind and "points" not in kind else {}
    area = SearchArea(bbox=Box(*BOX)) if narrow else SearchArea()
    found = ranked(source, path, res=res, opened=named, area=area, **rules)
    query = source.embedding_at(*NAIROBI, res=res)[0]
    expected, left_out, usable = brute(data(where, res), values, query, res, box=BOX if narrow else None, **rules)
    assert found.row.tolist() == [row for row, *_ in expected]
    assert found.cell.tolist() == [cell for _, cell, *_ in expected]
    np.testing.assert_allclose(found.lon, [lon for _, _, lon, *_ in expected], atol=1e-9)
    np.testing.assert_allclose(found.lat, [lat for *_, lat, _ in expected], atol=1e-9)
    assert found.similarity.tolist() == [alike for *_, alike in expected]
    assert found.table["n"].to_pylist() == found.row.tolist()
    assert (found.read, found.candidates, found.left_out) == (count, usable, left_out)
    assert (found.similarity.dtype, found.cell.dtype, found.row.dtype) == (np.float32, np.uint64, np.int64)


def test_rows_alike_come_in_the_order_of_the_file(atlas, tmp_path):
    rows = "".join(f"{i},10.0,10.0\n" for i in range(50_000))
    (tmp_path / "t.csv").write_text("n,lon,lat\n" + rows)
    found = ranked(atlas, tmp_path / "t.csv", k=40_000)
    assert found.row.tolist() == found.table["n"].to_pylist() == list(range(40_000))


def test_the_antimeridian_and_the_poles_are_no_borders(atlas, tmp_path):
    points = [(179.99, 0), (-179.99, 0), (0, 89.99), (180, 89.99), (10, -90), (-120, -90), (0, 0)]
    (tmp_path / "t.csv").write_text("lon,lat\n" + "".join(f"{lon},{lat}\n" for lon, lat in points))
    found = ranked(atlas, tmp_path / "t.csv", k=10, apart_km=50)
    assert len(found) == 4
    near = haversine_km(found.lon[:, None], found.lat[:, None], found.lon, found.lat) + 1e9 * np.eye(4)
    assert near.min() >= 50
    assert len(ranked(atlas, tmp_path / "t.csv", examples=[(180, 0), (0, 90)], exclude_within_km=1)) == 7
    assert len(ranked(atlas, tmp_path / "t.csv", examples=[(180, 0), (0, 90)], exclude_within_km=2)) == 3


def test_many_rows_far_apart_are_what_one_by_one_gives(atlas, tmp_path):
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-180, 180, 30_000).round(4), np.degrees(np.arcsin(rng.uniform(-1, 1, 30_000))).round(4)
    np.savetxt(tmp_path / "t.csv", np.column_stack([lon, lat]), "%.4f", ",", header="lon,lat", comments="")
    found = ranked(atlas, tmp_path / "t.csv", k=3000, apart_km=150.0)
    order = ranked(atlas, tmp_path / "t.csv", k=30_000)
    here = sphere.unit_vectors(order.lon, order.lat)
    chord, taken, points = 2 * math.sin(150.0 / 6371.0088 / 2), [], np.empty((0, 3))
    for i in range(len(order)):
        if (np.linalg.norm(points - here[i], axis=1) >= chord).all():
            taken.append(order.row[i])
            points = np.vstack([points, here[i]])
        if len(taken) == 3000:
            break
    assert 1000 < len(found) == min(3000, len(taken))
    assert found.row.tolist() == taken


def test_a_failing_condition_is_one_line(atlas, tmp_path):
    rows = "".join(f"{i % 90},{i % 90},{'x' if i == 150_000 else i}\n" for i in range(200_000))
    (tmp_path / "t.csv").write_text("lon,lat,n\n" + rows)
    with pytest.raises(QueryError, match="Could not convert string 'x' to INT32") as caught:
        ranked(atlas, tmp_path / "t.csv", opened={"where": "n::INTEGER >= 0"})
    assert "\n" not in str(caught.value)


def test_interrupting_is_not_taken_for_an_error(atlas, tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("lon,lat\n1,2\n")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "cells_of_points", interrupt)
    table = Candidates.open(tmp_path / "t.csv")
    with pytest.raises(KeyboardInterrupt):
        rank_table(
            atlas.index(2), atlas.index(2).vectors.of_rows(np.array([0]))[0], table, SearchRules(k=1), at(NAIROBI)
        )


@pytest.mark.shared
@pytest.mark.skipif(not TABLES.is_dir(), reason="the real data in ../shared are not here")
def test_cities_of_a_real_table_like_nairobi(atlas):
    where = "pop_max > 1e6 AND country <> 'Kenya'"
    rules = {"k": 15, "exclude_within_km": 500.0, "apart_km": 300.0, "min_similarity": None}
    found = ranked(atlas, TABLES / "populated_places.csv", opened={"where": where}, **rules)
    with (TABLES / "populated_places.csv").open(encoding="utf-8-sig", newline="") as file:
        cities = list(csv.DictReader(file))
    numbers = [i for i, city in enumerate(cities) if float(city["pop_max"]) > 1e6 and city["country"] != "Kenya"]
    values = [(cities[i]["lon"], cities[i]["lat"]) for i in numbers]
    query = atlas.embedding_at(*NAIROBI)[0]
    expected, left_out, usable = brute(stored(atlas, 2), values, query, 2, examples=[NAIROBI], **rules)
    assert found.row.tolist() == [numbers[row] for row, *_ in expected]
    assert found.table["name"].to_pylist() == [cities[row]["name"] for row in found.row]
    assert found.table["pop_max"].to_pylist() == [int(cities[row]["pop_max"]) for row in found.row]
    assert (found.read, found.candidates, found.left_out) == (len(values), usable, left_out)


@pytest.mark.shared
@pytest.mark.skipif(not TABLES.is_dir(), reason="the real data in ../shared are not here")
def test_stations_of_a_real_table_differ_from_the_example_by_their_temperature(atlas):
    table = Candidates.open(TABLES / "air_temperature_stations.csv")
    rules = SearchRules(k=5, exclude_within_km=500.0)
    found = rank_table(atlas.index(), atlas.embedding_at(*NAIROBI)[0], table, rules, at(NAIROBI))
    said = find_differences(table, found.table, [at(NAIROBI)])
    lon, lat, warm = np.loadtxt(TABLES / "air_temperature_stations.csv", delimiter=",", skiprows=1).T
    nearest = haversine_km(lon, lat, *NAIROBI).argmin()
    assert said.row.tolist() == [nearest]
    expected = (warm[found.row] - warm[nearest]) / warm.std()
    np.testing.assert_allclose(said.table["mean_temperature_c_sd"].to_pylist(), expected)


def test_an_answer_of_rows_is_written_like_any_other(atlas, tmp_path):
    (tmp_path / "t.csv").write_text("country,lon,lat,n\nhere,10,10,1\nthere,200,-20,\n")
    found = ranked(atlas, tmp_path / "t.csv", k=2)
    names, countries = nearest_cities(found.lon, found.lat)
    answer = Neighbors(
        rank=np.arange(1, 3),
        cell=found.cell,
        lon=found.lon,
        lat=found.lat,
        similarity=found.similarity,
        percentile=atlas.manifest.entry(2).percentile(found.similarity),
        distance_km=at(NAIROBI).distance_km(found.lon, found.lat),
        nearest_city=np.array(names, dtype=object),
        country=np.array(countries, dtype=object),
        table=found.table,
    )
    by_row = dict(zip(found.row.tolist(), answer.rows(), strict=True))
    theirs = ["table_country", "table_lon", "table_lat", "n"]
    assert [by_row[0][name] for name in theirs] == ["here", 10, 10, 1]
    assert [by_row[1][name] for name in theirs] == ["there", 200, -20, None]
    assert (by_row[1]["lon"], by_row[1]["lat"]) == (-160.0, -20.0)
    assert answer.to_arrow().column_names[-4:] == theirs


MILLION = """
import json, re, sys
from pathlib import Path
import duckdb, numpy as np
import satclip_index as si
from satclip_index.geo.sphere import PointSet
from satclip_index.search.search_rules import SearchRules
from satclip_index.tables.candidates import Candidates
from satclip_index.tables.ranking import rank_table
atlas, path = si.open_atlas(sys.argv[1]), sys.argv[2]
query = atlas.embedding_at(36.82, -1.29)[0]
rules = SearchRules(k=2000, apart_km=50.0, exclude_within_km=500.0)
examples = PointSet(np.array([36.82]), np.array([-1.29]))
found = rank_table(atlas.index(), query, Candidates.open(path), rules, examples)
peak_kb = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])  # this program's alone
print(json.dumps([len(found), found.read, peak_kb // 1024]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="only Linux says how much memory was taken")
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_memory_does_not_grow_with_the_table(atlas, tmp_path, run_python, suffix):
    peaks = []
    for count in (10_000, 1_000_000, 4_000_000):
        path = tmp_path / f"{count}.{suffix}"
        wide = "i AS id, random() * 360 - 180 AS lon, random() * 180 - 90 AS lat, random() AS a, 'name ' || i AS name"
        duckdb.sql(f"COPY (SELECT {wide} FROM range({count}) t(i)) TO '{path}'")
        done = run_python(MILLION, atlas.path, path)
        assert done.returncode == 0, done.stderr
        taken, read, peak_mb = json.loads(done.stdout)
        assert (taken, read) == (2000, count)
        peaks.append(peak_mb)
    assert peaks[1] < peaks[0] + 300
    assert peaks[2] < peaks[0] + 400
    assert peaks[2] < peaks[1] + 250
