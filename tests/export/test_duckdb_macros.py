import json

import duckdb
import h3
import numpy as np
import pytest

import satclip_index as si
from satclip_index.export import _h3_lattice

from ..oracles import haversine_km, stored

NAIROBI = (36.8, -1.3)
PLACES = [
    NAIROBI,
    (-70.0, -33.5),
    (179.9, 66.0),
    (-179.9, -16.5),
    (0.0, 89.9),
    (0.0, -90.0),
    (200.0, 50.0),
    (10.0, 51.0),
]
COLUMNS = {
    "rank": "BIGINT",
    "cell": "UBIGINT",
    "lon": "DOUBLE",
    "lat": "DOUBLE",
    "land": "BOOLEAN",
    "similarity": "FLOAT",
    "percentile": "DOUBLE",
    "distance_km": "DOUBLE",
}


@pytest.fixture(scope="module")
def file(atlas, tmp_path_factory):
    return atlas.to_duckdb(tmp_path_factory.mktemp("alone") / "planet.duckdb")


@pytest.fixture(scope="module")
def connection(file):
    with duckdb.connect(str(file), read_only=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def some_cells():
    """Hold cells of every resolution, pentagons among them, as uint64."""
    rng = np.random.default_rng(1)
    cells = [cell for res in range(16) for cell in h3.get_pentagons(res)]
    for res in range(16):
        cells += [h3.latlng_to_cell(lat, lon, res) for lon, lat in rng.uniform((-180, -90), (180, 90), (40, 2))]
        cells += [h3.cell_to_center_child(cell, res) for cell in sorted(h3.get_res0_cells())[::17]]
    return np.array(sorted({h3.str_to_int(cell) for cell in cells}), dtype=np.uint64)


def column(connection, query, *parameters):
    """Return the only column of an answer."""
    return [value for (value,) in connection.execute(query, parameters).fetchall()]


def of_each(connection, expression, values):
    """Return what an expression over column ``v`` gives of each value, in order."""
    numbered = {"i": np.arange(len(values)), "v": values}
    connection.execute("CREATE OR REPLACE TEMP TABLE given AS SELECT * FROM numbered")
    assert len(numbered["i"]) == column(connection, "SELECT count(*) FROM given")[0]
    return column(connection, f"SELECT {expression} FROM given ORDER BY i")


# H3.


@pytest.mark.parametrize("res", [0, 1, 2])
def test_the_cell_of_a_point_is_that_of_h3(connection, res):
    rng = np.random.default_rng(res)
    lon, lat = rng.uniform(-180, 360, 20_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000)))
    corners = _h3_lattice.faces().corners.reshape(-1, 3)
    near = corners[rng.integers(0, len(corners), 5_000)] + 1e-6 * rng.normal(size=(5_000, 3))
    edge = corners[rng.integers(0, 20, 5_000) * 3] + rng.uniform(0, 1, (5_000, 1))
    special = np.concatenate([near, edge])
    lon = np.concatenate([lon, np.degrees(np.arctan2(special[:, 1], special[:, 0])), [-180, 180, 360, 0, 0, 180]])
    lat = np.concatenate(
        [lat, np.degrees(np.arctan2(special[:, 2], np.hypot(*special[:, :2].T))), [0, 0, 0, 90, -90, 90]]
    )
    points = {"lon": lon, "lat": lat}
    assert points
    select = f"lon, lat, h3_latlng_to_cell(lat, lon, {res}) AS cell, satclip_cell(lon, lat, res := {res}) AS same"
    found = connection.execute(f"SELECT {select} FROM points").fetchnumpy()
    assert len(found["cell"]) == lon.size
    expected = [h3.str_to_int(h3.latlng_to_cell(y, x, res)) for x, y in zip(found["lon"], found["lat"], strict=True)]
    np.testing.assert_array_equal(np.asarray(found["cell"]), np.array(expected, dtype=np.uint64))
    np.testing.assert_array_equal(found["same"], found["cell"])


def test_the_finest_resolution_is_meant_where_none_is_named(connection):
    found = column(connection, "SELECT satclip_cell(36.8, -1.3)")
    assert found == [h3.str_to_int(h3.latlng_to_cell(-1.3, 36.8, 2))]


@pytest.mark.parametrize(
    "arguments",
    [
        *("NULL, 1, 2", "1, NULL, 2", "1, 2, NULL", "90.1, 0, 1", "0, 360.1, 1", "0, -180.1, 1", "0, 0, -1", "0, 0, 3"),
        *("'nan'::DOUBLE, 0, 1", "0, 'inf'::DOUBLE, 1", "'-inf'::DOUBLE, 0, 1"),
    ],
)
def test_what_is_no_point_has_no_cell(connection, arguments):
    assert column(connection, f"SELECT h3_latlng_to_cell({arguments})") == [None]


def test_text_resolution_and_parents_are_those_of_h3(connection, some_cells):
    texts = [h3.int_to_str(int(cell)) for cell in some_cells]
    assert of_each(connection, "h3_h3_to_string(v)", some_cells) == texts
    assert of_each(connection, "h3_string_to_h3(h3_h3_to_string(v))", some_cells) == some_cells.tolist()
    assert of_each(connection, "h3_get_resolution(v)", some_cells) == [h3.get_resolution(text) for text in texts]
    for res in range(16):
        expected = [h3.cell_to_parent(text, res) if h3.get_resolution(text) >= res else None for text in texts]
        as_number = [None if parent is None else h3.str_to_int(parent) for parent in expected]
        assert of_each(connection, f"h3_cell_to_parent(v, {res})", some_cells) == as_number
        assert of_each(connection, f"h3_cell_to_parent(v::BIGINT, {res})", some_cells) == as_number
        assert of_each(connection, f"h3_cell_to_parent(h3_h3_to_string(v), {res})", some_cells) == as_number


def test_a_cell_may_come_as_each_type_that_the_h3_extension_takes(connection):
    cell, text = 0x821F37FFFFFFFFF, "821f37fffffffff"
    for given in (f"{cell}::UBIGINT", f"{cell}::BIGINT", str(cell), f"'{text}'", f"'{text.upper()}'", f"'0x{text}'"):
        query = f"SELECT h3_get_resolution({given}), h3_h3_to_string({given}), h3_cell_to_lat({given}) IS NOT NULL"
        assert connection.sql(query).fetchall() == [(2, text, True)]
        assert column(connection, f"SELECT len(satclip_embedding({given}))") == [16]
        assert column(connection, f"SELECT h3_cell_to_parent({given}, 0)") == [h3.str_to_int("801ffffffffffff")]


def test_what_is_no_cell_gives_null(connection, some_cells):
    rng = np.random.default_rng(0)
    flipped = some_cells ^ (np.uint64(1) << rng.integers(0, 64, some_cells.size).astype(np.uint64))
    valid = [h3.is_valid_cell(h3.int_to_str(int(cell))) for cell in flipped]
    assert 0.05 < np.mean(valid) < 0.5
    for macro in ("h3_get_resolution(v)", "h3_h3_to_string(v)", "h3_cell_to_parent(v, 0)"):
        assert [found is not None for found in of_each(connection, macro, flipped)] == valid
    macros = ["h3_get_resolution({})", "h3_h3_to_string({})", "h3_cell_to_parent({}, 0)", "h3_cell_to_lat({})"]
    macros += ["h3_cell_to_lng({})", "satclip_embedding({})"]
    for given in ("NULL", "0", "-1", "'zz'", "''", "'821f37fffffffff0000'", "'1_0'", "NULL::UBIGINT", "NULL::VARCHAR"):
        for macro in macros:
            assert column(connection, f"SELECT {macro.format(given)}") == [None], (macro, given)


def test_centres_are_those_of_h3_up_to_the_finest_resolution(connection, some_cells):
    centres = [h3.cell_to_latlng(h3.int_to_str(int(cell))) for cell in some_cells]
    held = [h3.get_resolution(h3.int_to_str(int(cell))) <= 2 for cell in some_cells]
    for axis, macro in enumerate(("h3_cell_to_lat", "h3_cell_to_lng")):
        found = of_each(connection, f"{macro}(v)", some_cells)
        assert [value is not None for value in found] == held
        expected = [centre[axis] for centre, there in zip(centres, held, strict=True) if there]
        np.testing.assert_allclose([value for value in found if value is not None], expected, atol=1e-9)


# Similarity and distance.


def test_the_embedding_of_a_cell_is_the_stored_one(connection, atlas):
    expected = stored(atlas, 2)
    some = np.arange(0, 5882, 97)
    found = of_each(connection, "satclip_embedding(v)", expected["cell"][some])
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), expected["embedding"][some])
    assert column(connection, "SELECT typeof(satclip_embedding(5))") == ["FLOAT[16]"]


def test_similarity_takes_arrays_and_lists_and_is_that_of_like(connection, atlas):
    found = atlas.like(NAIROBI, k=20, exclude_within_km=0, apart_km=0, ocean=True)
    here = "satclip_embedding(satclip_cell(36.8, -1.3))"
    for kind in ("", "::FLOAT[]", "::DOUBLE[]"):
        alike = of_each(connection, f"satclip_similarity(satclip_embedding(v){kind}, {here})", found.cell)
        assert alike == found.similarity.tolist()
    assert column(connection, f"SELECT satclip_similarity(NULL, {here})") == [None]


def test_distance_is_the_great_circle(connection):
    rng = np.random.default_rng(3)
    lon, lat, to_lon, to_lat = (*rng.uniform((-180, -90), (360, 90), (500, 2)).T, *rng.uniform(-90, 90, (2, 500)))
    pairs = {"i": np.arange(500), "a": lon, "b": lat, "c": to_lon, "d": to_lat}
    assert pairs
    found = connection.sql("SELECT satclip_distance_km(a, b, c, d) AS km FROM pairs ORDER BY i").fetchnumpy()["km"]
    np.testing.assert_allclose(found, haversine_km(lon, lat, to_lon, to_lat), rtol=1e-7)
    near = column(connection, "SELECT satclip_distance_km(10, 50, 10.000001, 50)")
    np.testing.assert_allclose(near, haversine_km(10, 50, 10.000001, 50), rtol=1e-6)
    for given in ("NULL, 0, 0, 0", "0, 91, 0, 0", "0, 0, 0, 'nan'::DOUBLE", "'inf'::DOUBLE, 0, 0, 0"):
        assert column(connection, f"SELECT satclip_distance_km({given})") == [None]


@pytest.mark.parametrize("res", [1, 2])
def test_the_percentile_is_that_of_the_manifest(connection, atlas, res):
    entry = atlas.manifest.entry(res)
    quantiles = np.asarray(entry.similarity_quantiles, dtype=np.float32)
    alike = np.concatenate([np.linspace(-1.1, 1.1, 2001, dtype=np.float32), quantiles])
    found = of_each(connection, f"satclip_percentile(v, res := {res})", alike)
    np.testing.assert_allclose(found, entry.percentile(alike), atol=1e-9)
    assert column(connection, "SELECT satclip_percentile(NULL)") == [None]


def test_equal_quantiles_count_as_their_highest_level(connection, atlas, copy_of):
    root = copy_of(atlas)
    raw = json.loads((root / "manifest.json").read_text())
    entry = raw["resolutions"]["1"]
    entry["similarity_levels"], entry["similarity_quantiles"] = [0, 0.2, 0.4, 0.6, 0.8, 1], [-0.5, -0.5, 0, 0, 0.5, 0.5]
    (root / "manifest.json").write_text(json.dumps(raw))
    changed = si.open_atlas(root)
    alike = np.array([-1, -0.5, -0.25, 0, 0.25, 0.5, 1], dtype=np.float32)
    with duckdb.connect(str(changed.to_duckdb(root / "made.duckdb", res=1))) as opened:
        found = of_each(opened, "satclip_percentile(v)", alike)
    np.testing.assert_allclose(found, changed.manifest.entry(1).percentile(alike))


# Places like a place.

RULES = [
    {},
    {"k": 3},
    {"k": 300},
    {"k": 1_000, "apart_km": 0},
    {"exclude_within_km": 0},
    {"exclude_within_km": 0, "apart_km": 0},
    {"apart_km": 0, "k": 40},
    {"apart_km": 2500},
    {"apart_km": 20_016, "k": 5},
    {"exclude_within_km": 9000.5, "ocean": True},
    {"exclude_within_km": 20_016},
    {"ocean": True, "k": 50},
    {"res": 1, "k": 25},
]


def asked(rules):
    return "".join(f", {name} := {value}" for name, value in rules.items())


def assert_same(found, expected, land):
    """Compare the columns of ``places_like`` with an answer of ``Atlas.like``."""
    np.testing.assert_array_equal(np.asarray(found["rank"]), np.arange(1, len(expected) + 1))
    np.testing.assert_array_equal(np.asarray(found["cell"]), expected.cell)
    np.testing.assert_array_equal(np.asarray(found["similarity"]), expected.similarity)
    np.testing.assert_array_equal(np.asarray(found["land"]), [land[cell] for cell in expected.cell.tolist()])
    for name in ("lon", "lat", "percentile", "distance_km"):
        np.testing.assert_allclose(np.asarray(found[name]), getattr(expected, name), atol=1e-6)


@pytest.fixture(scope="module")
def land(connection):
    return dict(connection.sql("SELECT cell, land FROM cells").fetchall())


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_places_like_answers_as_like_does(connection, atlas, land, place, rules):
    found = connection.sql(f"FROM places_like({place[0]}, {place[1]}{asked(rules)})").fetchnumpy()
    assert_same(found, atlas.like(place, **rules), land)


def test_its_columns_and_their_types_are_promised(connection):
    described = connection.sql("DESCRIBE FROM places_like(36.8, -1.3)").fetchall()
    assert {name: kind for name, kind, *_ in described} == COLUMNS


@pytest.mark.parametrize("rules", RULES[:9], ids=str)
def test_each_row_of_a_table_has_its_own_answer(connection, atlas, land, rules):
    lon, lat = np.array(PLACES).T
    given_places = {"name": np.arange(len(PLACES)), "lon": lon, "lat": lat}
    assert given_places
    found = connection.sql(
        f"SELECT t.name, p.* FROM given_places t, LATERAL places_like(t.lon, t.lat{asked(rules)}) p "
        "ORDER BY t.name, p.rank"
    ).fetchnumpy()
    for name, place in enumerate(PLACES):
        mine = np.asarray(found["name"]) == name
        assert_same({key: np.asarray(values)[mine] for key, values in found.items()}, atlas.like(place, **rules), land)


def test_each_row_may_have_its_own_rules(connection, atlas):
    given = [(0, *NAIROBI, 2, 1, 0.0), (1, 10.0, 51.0, 5, 2, 2000.0), (2, 10.0, 51.0, 4, 1, 500.0)]
    values = ", ".join(map(str, given))
    found = connection.sql(
        f"SELECT t.i, cell FROM (VALUES {values}) t(i, lon, lat, k, res, km), "
        "places_like(lon, lat, k := k, res := res, apart_km := km) ORDER BY t.i, rank"
    ).fetchall()
    expected = [
        (i, cell)
        for i, lon, lat, k, res, km in given
        for cell in atlas.like((lon, lat), k=k, res=res, apart_km=km).cell.tolist()
    ]
    assert found == expected


def test_a_row_without_a_place_has_no_answer(connection):
    points = "(VALUES (36.8, -1.3), (NULL, 0), (0, NULL), (0, 91), ('nan'::DOUBLE, 0), ('inf'::DOUBLE, 0)) t(lon, lat)"
    found = connection.sql(f"SELECT t.lon, count(*) FROM {points}, places_like(t.lon, t.lat) GROUP BY t.lon").fetchall()
    assert found == [(36.8, 10)]
    left = f"{points} LEFT JOIN LATERAL places_like(t.lon, t.lat, k := 1) p ON true"
    assert column(connection, f"SELECT count(*) FROM {left} WHERE rank IS NULL") == [5]
    assert connection.sql("FROM places_like(36.8, -1.3, k := 0)").fetchall() == []


@pytest.mark.parametrize("name", ["c", "asked", "best", "e", "geo_t", "compared"])
def test_names_of_the_caller_are_not_taken_for_ours(connection, atlas, name):
    place = "(SELECT 36.8 AS lon, -1.3 AS lat, 2 AS res, '821f37fffffffff' AS cell, 3 AS k)"
    like = f"places_like({name}.lon, {name}.lat, k := {name}.k)"
    found = column(connection, f"SELECT p.cell FROM {place} {name}, {like} p ORDER BY p.rank")
    assert found == atlas.like(NAIROBI, k=3).cell.tolist()
    query = f"SELECT 1 FROM {place} {name} WHERE h3_cell_to_parent({name}.cell, 1) = h3_cell_to_parent(cell, 1) "
    query += "AND satclip_cell(lon, lat) = h3_latlng_to_cell(lat, lon, res) AND h3_cell_to_lat(cell) > 0 "
    query += "AND len(satclip_embedding(cell)) = 16 AND satclip_distance_km(lon, lat, lon, lat) = 0"
    assert connection.sql(query).fetchall() == [(1,)]


def test_cells_can_be_counted_by_their_ancestors(connection):
    found = connection.sql("SELECT h3_cell_to_parent(cell, 0) AS base, count(*) FROM cells GROUP BY base").fetchall()
    assert len(found) == 122
    assert sum(count for _, count in found) == 6724


def test_a_land_only_atlas_answers_for_land(land_atlas, tmp_path):
    path = land_atlas.to_duckdb(tmp_path / "land.duckdb")
    with duckdb.connect(str(path), read_only=True) as opened:
        found = opened.sql("FROM places_like(10, 51)").fetchnumpy()
        expected = land_atlas.like((10.0, 51.0))
        np.testing.assert_array_equal(np.asarray(found["cell"]), expected.cell)
        at_sea = opened.sql("SELECT h3_cell_to_lat(satclip_cell(-30, 0)), satclip_embedding(satclip_cell(-30, 0))")
        ((lat, embedding),) = at_sea.fetchall()
        assert lat == pytest.approx(h3.cell_to_latlng(h3.latlng_to_cell(0, -30, 2))[0])
        assert embedding is None
        assert opened.sql("FROM places_like(-30, 0)").fetchall() == []
        assert column(opened, "SELECT DISTINCT land_only FROM atlas") == [True]
