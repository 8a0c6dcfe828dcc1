"""What the command line adds to the search: options, remarks on stderr, and one line where something is wrong."""

import json

import h3
import pyarrow.parquet as pq
import pytest
import shapely

from .test_cli import LIKE, POLYGON, answer, failed

TOWNS = (
    "town;east;north;people\nQuito;-78.5;-0.2;2700000\nLeticia;-69.9;-4.2;50000\nNowhere;;;1\nOslo;10.75;59.9;700000\n"
)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "area.geojson").write_text(json.dumps(POLYGON))
    (tmp_path / "towns.csv").write_text(TOWNS, encoding="utf-8-sig")
    return tmp_path


def test_options_reach_the_search(cli, atlas):
    done = cli(*LIKE, "--res", "1", "--exclude-within", "0", "--apart", "0", "--ocean", "--format", "json", atlas=atlas)
    query = json.loads(done.stdout)["query"]
    asked = (query["res"], query["exclude_within_km"], query["apart_km"], query["ocean"], query["k"])
    assert asked == (1, 0, 0, True, 3)


def test_too_few_answers_are_said_on_stderr(cli, atlas):
    done = cli("like", "0,0", "--exclude-within", "15000", "--apart", "9000", atlas=atlas)
    assert len(answer(done)) < 10
    assert "places. Lower --apart" in done.stderr


def test_bounds_reach_the_search(cli, atlas, files):
    rows = answer(cli("like", "Nairobi", "--within", "area.geojson", "--apart", "0", atlas=atlas))
    assert rows
    assert all(10 <= row["lon"] <= 30 and 0 <= row["lat"] <= 10 for row in rows)
    rows = answer(
        cli("like", "Nairobi", "--outside", "area.geojson", "--bbox", "5,-5,35,15", "--apart", "0", atlas=atlas)
    )
    assert rows
    assert not any(10 <= row["lon"] <= 30 and 0 <= row["lat"] <= 10 for row in rows)
    west = answer(cli("like", "Nairobi", "--bbox", "-82,-56,-34,13", atlas=atlas))
    assert west
    assert all(-82 <= row["lon"] <= -34 for row in west)


def test_a_threshold_alone_gives_all_that_reach_it_and_k_the_first_of_them(cli, atlas):
    every = answer(cli("like", "Nairobi", "--min-percentile", "60", "--apart", "0", atlas=atlas))
    assert len(every) > 10
    assert min(row["percentile"] for row in every) >= 60 - 1e-6
    assert answer(cli("like", "Nairobi", "--min-percentile", "60", "--apart", "0", "-k", "3", atlas=atlas)) == every[:3]
    assert cli("like", "Nairobi", "--min-similarity", "1", "--format", "csv", atlas=atlas).returncode == 0


def test_regions_are_outlines_in_geojson_and_say_how_many_there_are(cli, atlas, files):
    done = cli("like", "Nairobi", "--regions", "--min-percentile", "70", "-o", "regions.geojson", atlas=atlas)
    assert done.returncode == 0, done.stderr
    collection = json.loads((files / "regions.geojson").read_text())
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in collection["features"]]
    assert all(shape.is_valid and shape.area > 0 for shape in shapes)
    assert {"area_km2", "cells", "mean_similarity"} <= set(collection["features"][0]["properties"])
    assert f"form {collection['query']['regions']} regions; {len(shapes)} are shown." in done.stderr
    nothing = cli("like", "Nairobi", "--regions", "--min-similarity", "1", atlas=atlas)
    assert "0 cells" in nothing.stderr
    assert "Lower --min-percentile" in nothing.stderr


def test_zoom_says_what_was_computed(cli, atlas):
    done = cli("like", "Nairobi", "--zoom", "4", "-k", "2", atlas=atlas)
    rows = answer(done)
    assert {h3.get_resolution(row["cell"]) for row in rows} == {4}
    assert "Searched at res 2, then encoded " in done.stderr
    assert "descendants of the results at res 4;" in done.stderr


def test_a_table_is_searched_and_its_bad_rows_are_counted(cli, atlas, files):
    given = ("--table", "towns.csv", "--lon", "east", "--lat", "north", "--apart", "0", "--exclude-within", "0")
    done = cli("like", "Nairobi", *given, "--explain", atlas=atlas)
    rows = answer(done)
    assert {row["town"] for row in rows} == {"Quito", "Leticia", "Oslo"}
    assert all(isinstance(row["people"], int) and isinstance(row["people_sd"], float) for row in rows)
    assert "3 of 4 rows are candidates; 1 " in done.stderr
    assert "Compared with row" in done.stderr
    assert "sd" in done.stderr
    some = answer(cli("like", "Nairobi", *given, "--where", "people < 1e6 AND town LIKE 'O%'", atlas=atlas))
    assert [row["town"] for row in some] == ["Oslo"]
    cli("like", "Nairobi", *given, "-o", "found.parquet", atlas=atlas)
    assert pq.read_table(files / "found.parquet")["town"].to_pylist() == [row["town"] for row in rows]


def test_unusual_lists_places_or_every_cell(cli, atlas, files):
    done = cli("unusual", "-k", "4", "--res", "1", atlas=atlas)
    rows = answer(done)
    assert len(rows) == 4
    assert {"uniqueness", "match_cell", "match_city"} <= set(rows[0])
    assert all(isinstance(row["match_cell"], str) for row in rows)
    assert f"Compared {atlas.manifest.entry(1).land_count} cells of res 1." in done.stderr
    cli("unusual", "--all", "--res", "1", "-o", "all.parquet", "-q", atlas=atlas)
    table = pq.read_table(files / "all.parquet")
    assert table.num_rows == atlas.manifest.entry(1).land_count
    assert table["uniqueness"].to_pylist() == sorted(table["uniqueness"].to_pylist(), reverse=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("like", "Nairobi", "--bbox", "1,2,3"), "W,S,E,N"),
        (("like", "Nairobi", "--bbox", "0,10,5,5"), "south is not below north"),
        (("like", "Nairobi", "--within", "missing.geojson"), "missing.geojson"),
        (("like", "Nairobi", "--min-percentile", "101"), "from 0 to 100"),
        (("like", "Nairobi:-2"), "above 0"),
        (("like", "Nairobi", "--zoom", "2"), "finer than 2"),
        (("like", "Nairobi", "--where", "a = 1"), "none was given"),
        (("like", "Nairobi", "--table", "missing.csv"), "missing.csv"),
        (("like", "Nairobi", "--table", "towns.csv"), "--lon"),
        (("like", "Nairobi", "--table", "towns.csv", "--lon", "east", "--lat", "north", "--where", "nope > 1"), "nope"),
        (
            (
                "like",
                "Nairobi",
                "--table",
                "towns.csv",
                "--lon",
                "east",
                "--lat",
                "north",
                "--where",
                "1=1; DROP TABLE x",
            ),
            "is not valid SQL",
        ),
        (("unusual", "--beyond", "40000", "--res", "1"), "No cell has another"),
        (("unusual", "--res", "7"), "holds resolution 1, 2"),
    ],
)
def test_what_cannot_be_asked_is_one_line(cli, atlas, files, arguments, words):
    assert words in failed(cli(*arguments, "-q", atlas=atlas))


@pytest.mark.parametrize("option", [("--zoom", "5"), ("--table", "towns.csv"), ("--explain",)])
def test_regions_and_single_places_do_not_go_together(cli, atlas, files, option):
    shown = failed(cli("like", "Nairobi", "--regions", *option, atlas=atlas), code=2)
    assert "cannot be combined with --regions" in " ".join(shown.replace("│", " ").split())
