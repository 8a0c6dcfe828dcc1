"""Join and embed on the command line: tables as people have them, and what is said of their rows."""

import csv
import io
import json

import duckdb
import h3
import numpy as np
import pyarrow.parquet as pq
import pytest

from .test_cli import answer, failed
from .test_search import TOWNS

TOWN_COLUMNS = ("--lon", "east", "--lat", "north")


@pytest.fixture
def files(tmp_path):
    (tmp_path / "towns.csv").write_text(TOWNS, encoding="utf-8-sig")
    return tmp_path


def test_a_join_keeps_rows_and_columns_and_says_what_has_no_place(cli, atlas, files):
    done = cli("join", "towns.csv", *TOWN_COLUMNS, "--like", "Nairobi", atlas=atlas)
    rows = answer(done)
    assert [row["town"] for row in rows] == ["Quito", "Leticia", "Nowhere", "Oslo"]
    assert list(rows[0]) == ["town", "east", "north", "people", "cell", "similarity", "embedding"]
    assert rows[0]["cell"] == h3.latlng_to_cell(-0.2, -78.5, 2)
    np.testing.assert_array_equal(np.float32(rows[0]["embedding"]), atlas.embedding_at(-78.5, -0.2)[0])
    assert (rows[2]["cell"], rows[2]["similarity"], rows[2]["embedding"]) == (None, None, None)
    assert "similarity: Nairobi, KE" in done.stderr
    assert "1 of 4 rows could not be placed: 1 without coordinates." in done.stderr
    assert cli("join", "towns.csv", *TOWN_COLUMNS, "-q", atlas=atlas).stderr == ""


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "geojson", "parquet"])
def test_every_format_goes_to_a_file_or_a_pipe(cli, atlas, files, kind):
    given = ("join", "towns.csv", *TOWN_COLUMNS, "--components", "2", "-q")
    written = cli(*given, "-o", f"out.{kind}", atlas=atlas, text=False)
    assert (written.returncode, written.stdout, written.stderr) == (0, b"", b"")
    piped = cli(*given, "--format", kind, atlas=atlas, text=False)
    assert piped.stdout == (files / f"out.{kind}").read_bytes()
    assert sorted(path.name for path in files.iterdir()) == sorted([f"out.{kind}", "towns.csv"])
    again = answer(cli("join", f"out.{kind}", *TOWN_COLUMNS, "--embedding", "none", "-q", atlas=atlas))
    cells = [f"{row['cell']:x}" if isinstance(row["cell"], int) else row["cell"] for row in again]  # as it was read
    assert [row["satclip_cell"] for row in again] == cells
    assert [row["town"] for row in again] == ["Quito", "Leticia", "Nowhere", "Oslo"]


def test_a_table_for_people_shows_the_first_rows(cli, atlas, files):
    (files / "long.csv").write_text("lon,lat\n" + "1,2\n" * 100)
    done = cli("join", "long.csv", "--format", "table", atlas=atlas)
    assert done.stdout.splitlines()[0].split() == ["lon", "lat", "cell", "embedding"]
    assert len(done.stdout.splitlines()) == 41
    assert "Only the first 40 rows are shown" in done.stderr


def test_a_query_is_a_table_and_knows_the_atlas(cli, atlas, files):
    query = "SELECT c.cell, c.land, 'x' AS \"select\" FROM cells c WHERE res = 2 ORDER BY cell DESC LIMIT 5"
    rows = answer(cli("join", query, "--components", "1", "-q", atlas=atlas))
    assert [row["satclip_cell"] for row in rows] == [f"{row['cell']:x}" for row in rows]
    assert [row["cell"] for row in rows] == sorted((row["cell"] for row in rows), reverse=True)
    rows = answer(cli("join", "FROM 'towns.csv' WHERE people > 1e5", *TOWN_COLUMNS, "-q", atlas=atlas))
    assert [row["town"] for row in rows] == ["Quito", "Oslo"]
    rows = answer(cli("embed", "FROM 'towns.csv' WHERE people > 1e6", *TOWN_COLUMNS, "-q"))
    assert [row["town"] for row in rows] == ["Quito"]


def test_bad_tables_are_one_line(cli, atlas, files):
    (files / "empty.csv").write_text("")
    (files / "swapped.csv").write_text("lat,lon\n120,10\n-99,20\n")
    (files / "bad.geojson").write_text("{")
    (files / "cells.csv").write_text("cell\nnonsense\n8009fffffffffff\n")
    for arguments, words in (
        (("missing.csv",), "missing.csv"),
        (("towns.csv",), "--lon and --lat, or --cell"),
        (("towns.csv", "--lon", "east"), "--lat"),
        (("towns.csv", *TOWN_COLUMNS, "--strict"), "Row 3 of towns.csv"),
        (("towns.csv", *TOWN_COLUMNS, "-o", "./towns.csv"), "is the table that is read"),
        (("empty.csv",), "no coordinates"),
        (("swapped.csv", "-o", "out.parquet"), "are lon and lat swapped"),
        (("bad.geojson",), "is not GeoJSON"),
        (("cells.csv",), "coarser than res 2"),
        (("SELECT nothing FROM cells",), "nothing"),
        (("SELECT 1 AS lon, error('late') AS lat",), "late"),
        (("towns.csv", *TOWN_COLUMNS, "--res", "9"), "--res 9"),
        (("towns.csv", *TOWN_COLUMNS, "--components", "99"), "from 1 to 16"),
        (("towns.csv", *TOWN_COLUMNS, "--exact", "--device", "abacus"), "abacus"),
    ):
        before = {path.name for path in files.iterdir()}
        done = cli("join", *arguments, "-q", atlas=atlas)
        assert words in failed(done), arguments
        assert {path.name for path in files.iterdir()} == before
    assert (files / "towns.csv").read_text(encoding="utf-8-sig") == TOWNS


def test_coarser_cells_are_repeated_on_demand(cli, atlas, files):
    (files / "cells.csv").write_text("name,cell\na,8009fffffffffff\nb,8001fffffffffff\n")
    rows = answer(cli("join", "cells.csv", "--descendants", "--embedding", "none", "-q", atlas=atlas))
    assert [row["name"] for row in rows] == ["a"] * 41 + ["b"] * 49
    assert {h3.cell_to_parent(row["satclip_cell"], 0) for row in rows} == {"8009fffffffffff", "8001fffffffffff"}


def test_embed_gives_the_embedding_of_a_point(cli, encoder, encoder_file, atlas):
    expected = encoder.encode(36.8, -1.3)[0]
    (row,) = answer(cli("embed", "--lon", "36.8", "--lat=-1.3", "--encoder", encoder_file, "--raw"))
    np.testing.assert_array_equal(np.float32(row["embedding"]), expected)
    for given in (("--encoder", encoder_file), ("--atlas", atlas.path)):
        (row,) = answer(cli("embed", "--lon", "36.8", "--lat", "-1.3", *given))
        assert list(row) == ["lon", "lat", "embedding", "norm"]
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(np.array(row["embedding"]) * row["norm"], expected, atol=2e-3)


def test_embed_writes_what_join_writes(cli, encoder_file, files):
    given = ("embed", "towns.csv", *TOWN_COLUMNS, "--encoder", encoder_file)
    done = cli(*given, "-o", "out.parquet")
    assert "1 of 4 rows" in done.stderr
    table = pq.read_table(files / "out.parquet")
    assert table.column_names == ["town", "east", "north", "people", "embedding", "norm", "geometry"]
    assert duckdb.sql(f"SELECT len(embedding) FROM '{files}/out.parquet'").fetchall() == [(16,), (16,), (None,), (16,)]
    shown = cli(*given, "--embedding", "columns", "--format", "csv", "-q")
    rows = list(csv.DictReader(io.StringIO(shown.stdout)))
    assert float(rows[0]["embedding_03"]) == pytest.approx(table["embedding"][0][3].as_py())


def test_embed_needs_a_table_or_a_point(cli, atlas):
    assert "Give a TABLE" in failed(cli("embed", "--lon", "3"), code=2)
    assert "either --encoder or --atlas" in failed(
        cli("embed", "--encoder", "bluemarble", "--atlas", atlas.path), code=2
    )
    assert "are not numbers of degrees" in failed(cli("embed", "--lon", "east", "--lat", "2"))
    assert "swapped" in failed(cli("embed", "--lon", "2", "--lat", "120"))


def test_info_tells_of_the_components(cli, atlas):
    assert "land cells of res 2; the first 16 have" in cli("info", atlas=atlas).stdout
    assert json.loads(cli("info", "--format", "json", atlas=atlas).stdout)["components"]["res"] == 2
