"""The functions of SQL, against h3-py, the Parquet files, and ``like``."""

import h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.encoder.location_encoder import unit_half
from satclip_index.errors import QueryError
from satclip_index.sql.connection import Answer, connect

from ..oracles import stored

POINTS = [(36.82, -1.29), (0, 90), (12, -90), (180, 10), (-180, 10), (179.9999, -16.5), (190, 10), (-77.0, -12.0)]


@pytest.fixture(scope="module")
def connection(atlas):
    with connect(atlas) as opened:
        yield opened


def rows(connection, query, *parameters):
    return list(Answer(connection, query, parameters).rows())


def one(connection, expression, *parameters):
    (row,) = rows(connection, f"SELECT {expression} AS value", *parameters)
    return row["value"]


def points_table(connection, name, points):
    connection.execute(f"CREATE OR REPLACE TABLE {name} (i INTEGER, lon DOUBLE, lat DOUBLE)")
    connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?)", [(i, *point) for i, point in enumerate(points)])


# --- cells


@given(lon=st.floats(-180, 360), lat=st.floats(-90, 90), res=st.integers(0, 15))
def test_cell_functions_agree_with_h3_py(connection, lon, lat, res):
    text = h3.latlng_to_cell(lat, lon if lon <= 180 else lon - 360, res)
    cell = h3.str_to_int(text)
    assert one(connection, "h3_latlng_to_cell($1, $2, $3)", lat, lon, res) == cell
    assert one(connection, "satclip_cell($1, $2, $3)", lon, lat, res) == cell
    for given_as in (cell, text, f"0x{text.upper()}"):
        assert one(connection, "h3_get_resolution($1)", given_as) == res
        assert one(connection, "h3_cell_to_parent($1, $2)", given_as, res // 2) == h3.str_to_int(
            h3.cell_to_parent(text, res // 2)
        )
        found = one(connection, "h3_cell_to_lat($1)", given_as), one(connection, "h3_cell_to_lng($1)", given_as)
        np.testing.assert_allclose(found, h3.cell_to_latlng(text), atol=1e-9)
    assert one(connection, "h3_h3_to_string($1)", cell) == text
    assert one(connection, "h3_string_to_h3($1)", text) == cell


@pytest.mark.parametrize("kind", ["UBIGINT", "BIGINT", "HUGEINT", "VARCHAR"])
def test_cells_are_taken_in_every_type_and_by_a_name_given_in_the_same_select(connection, kind):
    query = f"""
        SELECT h3_latlng_to_cell(-1.29, 36.82, 2) AS cell,
            {"h3_h3_to_string(cell)" if kind == "VARCHAR" else f"cell::{kind}"} AS other,
            h3_cell_to_parent(other, 1) AS parent, satclip_embedding(other) AS embedding"""
    (row,) = rows(connection, query)
    assert row["parent"] == h3.str_to_int(h3.latlng_to_cell(-1.29, 36.82, 1))
    assert len(row["embedding"]) == 16


@pytest.mark.parametrize(
    "expression",
    [
        "h3_latlng_to_cell(90.5, 0, 3)",
        "h3_latlng_to_cell(0, 361, 3)",
        "h3_latlng_to_cell('nan'::DOUBLE, 0, 3)",
        "h3_latlng_to_cell(0, 0, 16)",
        "h3_latlng_to_cell(0, 0, -1)",
        "h3_latlng_to_cell(NULL, 0, 3)",
        "h3_latlng_to_cell(0, 0, NULL)",
        "h3_cell_to_parent('811f3ffffffffff', 2)",
        "h3_cell_to_parent('nothing', 0)",
        "h3_cell_to_parent(0, 0)",
        "h3_cell_to_lat(17)",
        "h3_cell_to_lng(NULL)",
        "h3_string_to_h3('x')",
        "h3_h3_to_string(NULL)",
        "h3_h3_to_string(17)",
        "h3_get_resolution('zz')",
        "satclip_embedding(17)",
        "satclip_embedding(NULL)",
        "satclip_embedding('831f30fffffffff')",
        "satclip_embed(NULL, 0)",
        "satclip_percentile(NULL)",
        "satclip_cell(0, NULL)",
        "satclip_distance_km(0, 0, NULL, 0)",
    ],
)
def test_what_has_no_value_is_null(connection, expression):
    assert one(connection, expression) is None


# --- embeddings


@pytest.mark.parametrize("res", [1, 2])
def test_the_embedding_of_a_cell_is_the_stored_one(connection, atlas, res):
    found = connection.execute(
        "SELECT cell, satclip_embedding(cell) AS e FROM cells WHERE res = $1 ORDER BY cell", [res]
    ).fetchnumpy()
    np.testing.assert_array_equal(np.stack(found["e"]), stored(atlas, res)["embedding"])


def test_a_point_is_embedded_as_an_atlas_would_store_it(connection, atlas):
    points_table(connection, "embedded", POINTS)
    found = connection.execute("SELECT satclip_embed(lon, lat) AS e FROM embedded ORDER BY i").fetchnumpy()["e"]
    expected, _ = unit_half(atlas.encoder.encode(*np.array(POINTS, dtype=float).T))
    np.testing.assert_array_equal(np.stack(found), expected)


def test_a_point_off_the_earth_is_refused_with_a_hint(connection):
    for query in ("SELECT satclip_embed(0, 100)", "FROM places_like(0, 100)", "FROM places_like(0, 'nan'::DOUBLE)"):
        with pytest.raises(QueryError, match=r"^A lat of (100|nan) is outside \[-90, 90\].*swapped"):
            rows(connection, query)
    with pytest.raises(QueryError, match=r"^A lon of -190 is outside"):
        rows(connection, "FROM places_like(-190, 0)")


def test_percentiles_and_distances_are_those_of_like(connection, atlas):
    found = atlas.like((36.82, -1.29), k=20)
    for res in (None, 1):
        entry = atlas.manifest.entry(res or 2)
        for similarity in (-1.0, 0.3, *found.similarity[:3]):
            value = one(connection, "satclip_percentile($1, $2)", float(similarity), res)
            assert value == pytest.approx(entry.percentile(np.float32(similarity)), abs=1e-9)
    for lon, lat, km in zip(found.lon, found.lat, found.distance_km, strict=True):
        value = one(connection, "satclip_distance_km($1, $2, 36.82, -1.29)", float(lon), float(lat))
        assert value == pytest.approx(km, rel=1e-9)
    assert one(connection, "satclip_distance_km(0, 0, 180, 0)") == pytest.approx(np.pi * 6371.0088)
    assert one(connection, "satclip_distance_km(5, 89, 5, 89)") == 0


# --- places_like


RULES = [
    {},
    {"k": 3},
    {"k": 5, "res": 1},
    {"k": 7, "exclude_within_km": 0, "apart_km": 0, "ocean": True},
    {"k": 4, "exclude_within_km": 3000, "apart_km": 0},
    {"k": 4, "exclude_within_km": 0, "apart_km": 2000},
    {"k": 1000, "apart_km": 0, "exclude_within_km": 0},
    {"k": 10_000, "apart_km": 0, "exclude_within_km": 0, "ocean": True},
]


def sql_of(rules):
    return "".join(f", {name} := {str(value).lower()}" for name, value in rules.items())


def assert_answers(found, atlas, point, rules):
    expected = atlas.like(point, **rules)
    assert [row["cell"] for row in found] == expected.cell.tolist()
    assert [row["rank"] for row in found] == expected.rank.tolist()
    for name in ("lon", "lat", "similarity", "percentile", "distance_km"):
        # Similarities are float32: of 16 products, in any order.
        np.testing.assert_allclose([row[name] for row in found], expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_places_like_a_point_are_what_like_answers(connection, atlas, rules):
    for point in ((36.82, -1.29), (0.0, 90.0)):
        found = rows(connection, f"FROM places_like($1, $2{sql_of(rules)}) ORDER BY rank", *point)
        assert_answers(found, atlas, point, rules)


@pytest.mark.parametrize("rules", RULES[:6], ids=str)
def test_a_lateral_join_answers_each_row_as_if_it_were_alone(connection, atlas, rules):
    points_table(connection, "points", POINTS)
    query = f"SELECT t.i, p.* FROM points t, LATERAL places_like(t.lon, t.lat{sql_of(rules)}) p ORDER BY t.i, p.rank"
    found = rows(connection, query)
    for i, (lon, lat) in enumerate(POINTS):
        assert_answers([row for row in found if row["i"] == i], atlas, (lon, lat), rules)


def test_a_lateral_join_over_many_chunks_keeps_its_rows_apart(connection, atlas):
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-180, 180, 5000), np.degrees(np.arcsin(rng.uniform(-1, 1, 5000)))
    connection.execute("CREATE OR REPLACE TABLE many AS SELECT unnest($1) AS i, unnest($2) AS lon, unnest($3) AS lat", [
        list(range(5000)), lon.tolist(), lat.tolist(),
    ])  # fmt: skip
    query = """
        SELECT i, p.cell FROM many, LATERAL
        places_like(many.lon, many.lat, k := 1, exclude_within_km := 0, apart_km := 0, ocean := true) p ORDER BY i"""
    found = connection.execute(query).fetchnumpy()
    assert found["i"].tolist() == list(range(5000))
    # The most similar of all is the cell itself, but for what rounding to half precision lets come before it.
    own = atlas.embedding_at(lon, lat)
    matrix = stored(atlas, 2)["embedding"].astype(np.float64)
    best = (own.astype(np.float64) @ matrix.T).astype(np.float32).argmax(axis=1)
    np.testing.assert_array_equal(found["cell"], stored(atlas, 2)["cell"][best])


def test_rules_may_be_columns_of_the_table(connection, atlas):
    points_table(connection, "points", POINTS)
    query = """
        SELECT t.i, p.* FROM points t, LATERAL
        places_like(t.lon, t.lat, k := t.i + 1, res := 1 + t.i % 2, apart_km := 100 * t.i) p ORDER BY t.i, p.rank"""
    found = rows(connection, query)
    for i, point in enumerate(POINTS):
        rules = {"k": i + 1, "res": 1 + i % 2, "apart_km": 100 * i}
        assert_answers([row for row in found if row["i"] == i], atlas, point, rules)


def test_a_condition_says_which_cells_may_be_answers(connection, atlas):
    connection.execute("CREATE OR REPLACE TABLE mine AS SELECT cell FROM cells WHERE lat > 40 AND lon BETWEEN 0 AND 90")
    box = atlas.like((36.82, -1.29), bbox=(0, 40, 90, 90), k=5)
    for condition in ("lat > 40 AND lon BETWEEN 0 AND 90", "cell IN (FROM mine)"):
        query = f"FROM places_like(36.82, -1.29, k := 5, \"where\" := '{condition}')"
        assert [row["cell"] for row in rows(connection, query)] == box.cell.tolist()
    assert rows(connection, "FROM places_like(0, 0, \"where\" := 'lat > 91')") == []


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        ("k := 0", "k is 0; expected"),
        ("k := -3", "k is -3; expected"),
        ("res := 3", "holds resolution 1, 2, not 3"),
        ("apart_km := -1", "apart_km is -1.0; expected"),
        ("exclude_within_km := 'inf'::DOUBLE", "exclude_within_km is inf; expected"),
        ("apart_km := NULL", "apart_km is None; expected"),
        ("\"where\" := 'nothing > 1'", "nothing"),
        ("\"where\" := ''", "condition is empty"),
        ("\"where\" := 'true) OR (true'", "is not valid SQL"),
        ("\"where\" := 'true; DROP VIEW satclip.cells'", "is not valid SQL"),
    ],
)
def test_rules_that_cannot_be_are_refused_in_one_line(connection, rules, complaint):
    with pytest.raises(QueryError, match=complaint) as error:
        rows(connection, f"FROM places_like(0, 0, {rules})")
    assert "\n" not in str(error.value)
    assert rows(connection, "SELECT count(*) AS n FROM cells") == [{"n": 6724}]


def test_null_is_like_nothing(connection):
    points_table(connection, "points", [(None, 1), (1, None), (1, 1), (None, None)])
    found = rows(connection, "SELECT t.i, p.rank FROM points t, LATERAL places_like(t.lon, t.lat, k := 1) p")
    assert found == [{"i": 2, "rank": 1}]
    query = "SELECT t.i, p.rank FROM points t LEFT JOIN LATERAL places_like(t.lon, t.lat, k := 1) p ON true ORDER BY i"
    assert [row["rank"] for row in rows(connection, query)] == [None, None, 1, None]
    connection.execute("CREATE OR REPLACE TABLE nothing AS SELECT NULL::DOUBLE AS lon, 0.0 AS lat FROM range(5000)")
    assert rows(connection, "SELECT p.* FROM nothing t, LATERAL places_like(t.lon, t.lat) p") == []
    assert rows(connection, "SELECT p.* FROM nothing t, LATERAL places_like(t.lon, t.lat) p WHERE false") == []


def test_the_columns_are_there_where_there_are_no_rows(connection):
    found = connection.sql("DESCRIBE FROM places_like(NULL, NULL)").fetchall()
    assert [(name, kind) for name, kind, *_ in found] == [
        ("rank", "BIGINT"),
        ("cell", "UBIGINT"),
        ("lon", "DOUBLE"),
        ("lat", "DOUBLE"),
        ("land", "BOOLEAN"),
        ("similarity", "FLOAT"),
        ("percentile", "DOUBLE"),
        ("distance_km", "DOUBLE"),
    ]
