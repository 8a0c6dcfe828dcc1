"""Answers of SQL as text: every type as DuckDB prints it."""

import io
import json

import pytest

from satclip_index.database import Answer, open_database
from satclip_index.formats.answers import TextAnswer
from satclip_index.formats.text import write_table_text

CELL = 0x832653FFFFFFFFF


def text(query, kind="jsonl", connection=None):
    answer = TextAnswer.of(Answer(connection or open_database(), query))
    file = io.BytesIO()
    write_table_text(answer.reader, file, kind, geometry=answer.geometry)
    return file.getvalue().decode()


OWN_TEXT = [
    "'a'::ENUM('a', 'b')",
    "INTERVAL '1 day 02:00:00'",
    "TIMETZ '01:02:03.25+02'",
    "'101'::BIT",
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::UUID",
    "union_value(num := 2)",
    "TIME '01:02:03.50'",
    "TIME '00:00:00'",
    "DATE 'infinity'",
    "DATE '-infinity'",
    "DATE '0044-03-15 (BC)'",
    "TIMESTAMP 'infinity'",
    "TIMESTAMP '0044-03-15 (BC) 01:00:00'",
    "TIMESTAMPTZ '2020-01-01 00:00:00.5+05:30'",
    "TIMESTAMPTZ 'infinity'",
    "TIMESTAMP_S '2020-01-01 00:00:00'",
    "TIMESTAMP_MS '2020-01-01 00:00:00.100'",
    "TIMESTAMP_NS '2020-01-01 00:00:00.123456789'",
    "NULL::INTERVAL",
]


@pytest.mark.parametrize("value", OWN_TEXT)
def test_what_json_has_no_type_for_is_duckdbs_own_text(value):
    with open_database() as connection:
        ((expected,),) = connection.sql(f"SELECT ({value})::VARCHAR").fetchall()
        assert json.loads(text(f"SELECT {value} AS x", connection=connection)) == {"x": expected}
        shown = text(f"SELECT {value} AS x, 1 AS n", "csv", connection)
    assert shown == f"x,n\n{expected or ''},1\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("170141183460469231731687303715884105727::HUGEINT", 2**127 - 1),
        ("340282366920938463463374607431768211455::UHUGEINT", 2**128 - 1),
        ("(-1)::HUGEINT", -1),
        ("'123456789012345678901234567890123456789012345'::BIGNUM", 123456789012345678901234567890123456789012345),
        ("(SELECT sum(range) FROM range(4))", 6),
        ("1.50::DECIMAL(9, 2)", 1.5),
        ("[1.5, 2]", [1.5, 2.0]),
        ("[1, 2]::INT[2]", [1, 2]),
        ("[[1.5::FLOAT], NULL, []]", [[1.5], None, []]),
        ("MAP {'a': 1, 'b': NULL}", {"a": 1, "b": None}),
        ("MAP {1: [INTERVAL 1 DAY]}", {"1": ["1 day"]}),
        ("{'a': 5::HUGEINT, 'b c': ['nan'::FLOAT, 1]}", {"a": 5, "b c": [None, 1.0]}),
        ("""'{"a": [1,\n 2]}'::JSON""", {"a": [1, 2]}),
        ("""['{"a": 1}'::JSON]""", [{"a": 1}]),
        ("'x'::BLOB", "78"),
        ("'infinity'::DOUBLE", None),
    ],
)
def test_numbers_lists_structs_and_json_are_those_of_json(value, expected):
    line = text(f"SELECT {value} AS x")
    assert line.count("\n") == 1
    assert json.loads(line, parse_constant=pytest.fail) == {"x": expected}


def test_names_that_are_repeated_get_a_number():
    assert json.loads(text('SELECT 1 AS a, INTERVAL 1 DAY AS a, 3 AS "a b"')) == {"a": 1, "a_1": "1 day", "a b": 3}


def test_cells_are_told_by_name_type_and_value():
    query = f"""SELECT {CELL}::UBIGINT AS cell, {CELL} AS home_cell, 5::UBIGINT AS people_per_cell,
        {CELL}::UBIGINT AS other, '5' AS text_cell, NULL::UBIGINT AS no_cell"""
    assert json.loads(text(query)) == {
        "cell": "832653fffffffff",
        "home_cell": "832653fffffffff",
        "people_per_cell": 5,
        "other": CELL,
        "text_cell": "5",
        "no_cell": None,
    }
    mixed = text(f"SELECT unnest([{CELL}, 7])::UBIGINT AS cell")
    assert [json.loads(line)["cell"] for line in mixed.splitlines()] == [CELL, 7]


def test_geojson_takes_a_geometry_or_lon_and_lat():
    struct = "{'type': 'Point', 'coordinates': [1.5, 2]}"
    for query in (f"SELECT 1 AS n, {struct} AS geometry", "SELECT 1 AS n, 1.5 AS lon, 2 AS lat"):
        (feature,) = json.loads(text(query, "geojson"))["features"]
        assert feature["geometry"] == {"type": "Point", "coordinates": [1.5, 2]}
        assert feature["properties"] == {"n": 1}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_answers_without_rows_or_columns(kind):
    nothing = {"csv": "a\n", "jsonl": "", "json": '{"rows": [\n]}\n'}[kind]
    assert text("SELECT 1 AS a WHERE false", kind) == nothing
    assert text("SET threads = 1", kind) == nothing.replace("a", "Success")  # what DuckDB calls it


def test_order_and_parameters_survive_a_cast():
    with open_database() as connection:
        answer = TextAnswer.of(
            Answer(
                connection, "SELECT range AS i, INTERVAL (range) DAY AS x FROM range($n) ORDER BY i DESC", {"n": 20_000}
            )
        )
        found = answer.reader.read_all()
    assert found["i"].to_pylist() == list(range(20_000))[::-1]
    assert found["x"][0].as_py() == "19999 days"
