import csv
import io
import json

import pytest

from .printed import PERCENTILE, SIMILARITY, differences

ROW = {
    "rank": 1,
    "cell": "84529b5ffffffff",
    "lon": 38.69806,
    "similarity": 0.86171335,
    "percentile": 98.93399392183089,
    "distance_km": 1166.155416607361,
    "city": "Addis Ababa",
}
NOISY = {"similarity": 0.8617145, "percentile": 98.934021, "distance_km": 1166.1554166074}
WRONG = {
    "rank": 2,
    "cell": "84529b7ffffffff",
    "lon": 38.69816,
    "similarity": 0.86571335,
    "percentile": 98.434,
    "distance_km": 1166.165416607361,
    "city": "Addis Abeba",
}


def as_csv(row):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([row, row.values()])
    return file.getvalue()


def as_table(row):
    shown = {name: f"{value:.4f}" if isinstance(value, float) else str(value) for name, value in row.items()}
    widths = {name: max(len(name), len(value)) for name, value in shown.items()}
    lines = (
        "  ".join(name.rjust(width) for name, width in widths.items()),
        "  ".join(shown[name].rjust(width) for name, width in widths.items()),
    )
    return "\n".join(lines)


def as_geojson(row):
    geometry = {"type": "Point", "coordinates": [row["lon"], 9.03526]}
    return json.dumps({"features": [{"type": "Feature", "geometry": geometry, "properties": row}]}, indent=1)


def as_markdown(row):
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in (row, ["---"] * len(row), row.values()))


FORMATS = {
    "csv": as_csv,
    "table": as_table,
    "jsonl": json.dumps,
    "json": lambda row: json.dumps({"query": {"k": 3}, "rows": [row]}, indent=1),
    "geojson": as_geojson,
    "markdown": as_markdown,
}


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_what_another_processor_rounds_otherwise_is_the_same(write):
    assert differences(write(ROW), write(ROW)) == []
    assert differences(write(ROW), write(ROW | NOISY)) == []


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_digit_or_word_is_found(write, name):
    found = differences(write(ROW), write(ROW | {name: WRONG[name]}))
    assert found
    assert all(line.startswith((name, "text", "coordinates")) for line in found)


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_a_row_or_a_column_too_few_is_found(write):
    assert differences(write(ROW), "")
    assert differences(write(ROW), write({name: value for name, value in ROW.items() if name != "similarity"}))


@pytest.mark.parametrize(("name", "bound"), [("similarity", SIMILARITY), ("percentile", PERCENTILE)])
def test_the_bound_is_that_of_half_precision_and_one_unit_of_the_last_digit(name, bound):
    for off, same in ((0.9 * bound, True), (1.1 * bound + 0.0001, False)):
        assert (differences(f"{name}\n0.5000\n", f"{name}\n{0.5 + off:.4f}\n") == []) == same


def test_values_that_are_missing_leave_the_others_in_their_columns():
    table = "name   country  similarity  km\nLima   Peru         0.9000  12\nnowhere             0.8000  13\n"
    assert differences(table, table.replace("0.8000", "0.8010")) == []
    assert differences(table, table.replace("0.8000", "0.8050"))
    line = "a,similarity,b\n1.5,,2.5\n"
    assert differences(line, line.replace(",,2.5", ",2.5,"))


@pytest.mark.parametrize(
    ("expected", "number", "same", "wrong"),
    [
        ("1. Burayu: 98.93 % of random pairs are less alike.", "98.93", "98.94", "97.93"),
        ("101 cells of similarity 0.6653 or more make 9 regions", "0.6653", "0.6655", "0.6753"),
        ("101 cells of similarity 0.6653 or more make 9 regions", "101", "101", "102"),
        ("beside the example, pop_max -1.49 sd.", "-1.49", "-1.49", "-1.48"),
        ("R2 random\n0.971 ± 0.000\n", "0.971", "0.972", "0.951"),
        ("Wrote geo.duckdb, 349 MB.", "349", "351", "449"),
        ("Built atlas/ in 2 s: 3 MB.", "2", "30", "fast"),
        ('{"embedding": [\n 0.125,\n 0.0625\n]}', "0.0625", "0.0626", "0.0645"),
    ],
)
def test_numbers_in_sentences_are_compared_too(expected, number, same, wrong):
    assert differences(expected, expected.replace(number, same)) == []
    assert differences(expected, expected.replace(number, wrong))
