import csv
import fcntl
import io
import json
import os
import pty
import re
import shlex
import struct
import sys
import termios
from subprocess import PIPE

import duckdb
import h3
import pyarrow.parquet as pq
import pytest

from ..conftest import CLI, child_environment
from ..processes import HANG_S, finished, started

POLYGON = {"type": "Polygon", "coordinates": [[[10, 0], [30, 0], [30, 10], [10, 10], [10, 0]]]}
LIKE = ("like", "36.82,-1.29", "-k", "3")
COLUMNS = ["rank", "cell", "lon", "lat", "similarity", "percentile", "distance_km", "nearest_city", "country"]


def failed(done, code=1):
    """Return the one line of an error, after checking that it is one."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if code == 1:
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("Error: ")
        assert done.stdout == ""
        return lines[0]
    return done.stderr


def answer(done):
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- like


def test_like_prints_data_on_stdout_and_talk_on_stderr(cli, atlas):
    done = cli(*LIKE, atlas=atlas)
    rows = answer(done)
    assert [list(row) for row in rows] == [COLUMNS] * 3
    assert "like: 36.82 E 1.29 S, cell 82" in done.stderr
    expected = atlas.like((36.82, -1.29), k=3)
    assert [int(row["cell"], 16) for row in rows] == expected.cell.tolist()
    assert [row["similarity"] for row in rows] == pytest.approx(expected.similarity.tolist())


def test_quiet_says_nothing(cli, atlas):
    for flag in ("-q", "--quiet"):
        done = cli(*LIKE, flag, atlas=atlas)
        assert done.stderr == ""
        assert len(answer(done)) == 3


def read(kind, data):
    """Return the rows of an answer, by another reader."""
    if kind == "parquet":
        table = pq.read_table(io.BytesIO(data))
        assert json.loads(table.schema.metadata[b"satclip_index"])["k"] == 3
        return [row | {"cell": f"{row['cell']:x}"} for row in table.to_pylist()]
    text = data.decode()
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    if kind == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    document = json.loads(text)
    assert document["query"]["k"] == 3
    if kind == "json":
        return document["rows"]
    assert document["type"] == "FeatureCollection"
    return [feature["properties"] for feature in document["features"]]


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv", "geojson", "parquet"])
def test_every_format_parses_on_stdout_and_in_a_file(cli, atlas, tmp_path, kind):
    piped = cli(*LIKE, "--format", kind, atlas=atlas, text=False)
    assert piped.returncode == 0
    written = cli(*LIKE, "-o", f"out.{kind}", atlas=atlas, text=False)
    assert written.returncode == 0
    assert written.stdout == b""
    cells = [f"{cell:x}" for cell in atlas.like((36.82, -1.29), k=3).cell.tolist()]
    for data in (piped.stdout, (tmp_path / f"out.{kind}").read_bytes()):
        assert [row["cell"] for row in read(kind, data)] == cells
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{kind}"]


def test_a_table_is_for_people(cli, atlas):
    done = cli("like", "Nairobi", "--format", "table", "-k", "4", atlas=atlas)
    lines = done.stdout.rstrip("\n").splitlines()
    assert lines[0].split() == COLUMNS
    assert len(lines) == 5
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("place", ["-70.5,-33.4", "-70.5, -33.4", "-.5,-33", "-180,-90", "-1e1,5"])
def test_a_negative_longitude_is_a_place_not_an_option(cli, atlas, place):
    lon, lat = map(float, place.split(","))
    done = cli("like", place, "--unlike", place, "-k", "1", "--exclude-within", "0", "--ocean", atlas=atlas)
    assert answer(done)[0]["cell"] == h3.latlng_to_cell(lat, lon, 2)


def test_every_kind_of_place_is_taken(cli, atlas, tmp_path):
    (tmp_path / "area.geojson").write_text(json.dumps(POLYGON))
    cell = h3.latlng_to_cell(-1.29, 36.82, 5)
    done = cli(
        "like", "Nairobi", cell, "36.8,-1.3", "area.geojson", "--unlike", "São Paulo", "--format", "json", atlas=atlas
    )
    assert done.returncode == 0, done.stderr
    query = json.loads(done.stdout)["query"]
    assert len(query["like"]) == 4
    assert query["unlike"][0].startswith("São Paulo, BR")
    assert query["query"] == "unit(2 * mean(like) - mean(unlike))"
    assert "area.geojson: area around" in done.stderr


# --- errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("like", "Nowhereville"), "Nowhereville"),
        (("like", "0,91"), "swapped"),
        (("like", "fffffffffffffff"), "not an H3 cell"),
        (("like", "missing.geojson"), "missing.geojson"),
        (("like", "notes.json"), "notes.json"),
        (("like", "Lima", "--res", "9"), "--res 9"),
        (("like", "Lima", "-o", "no/folder/x.csv"), "could not be written"),
        (("like", "Lima", "-o", "folder.csv"), "could not be written"),
        (("like", "Lima", "-o", "x.docx"), "implies no format"),
        (("sql", ""), "query is empty"),
        (("sql", "SELECT geometry"), "geometry"),
        (("sql", "SELECT res FROM cells", "-o", "x.geojson"), "lon and lat"),
        (("sql", "FROM 'missing.csv'", "--format", "csv"), "missing.csv"),
        (("build", "--atlas", "notes.json"), "is not replaced"),
        (("build", "--atlas", "new", "--encoder", "notes.json"), "notes.json"),
        (("build", "--atlas", "new", "--encoder", "nosuchencoder"), "nosuchencoder"),
        (("build", "--atlas", "new", "--res", "12"), "resolution"),
        (("build", "--atlas", "new", "--res", "-1"), "resolution"),
    ],
)
def test_an_error_of_ours_is_one_line_and_exit_1(cli, atlas, tmp_path, arguments, words):
    (tmp_path / "notes.json").write_text("not json")
    (tmp_path / "folder.csv").mkdir()
    arguments = [*arguments, "-q"] if arguments[0] != "sql" else arguments
    assert words in failed(cli(*arguments, atlas=atlas))
    assert {path.name for path in tmp_path.iterdir()} == {"notes.json", "folder.csv"}


def test_a_device_that_is_not_there_is_one_line(cli, encoder_file):
    line = failed(cli("build", "-q", "--encoder", encoder_file, "--res", "0", "--device", "abacus"))
    assert "abacus" in line


@pytest.mark.parametrize("command", [("like", "Lima"), ("sql", "SELECT 1"), ("info",)])
def test_a_missing_atlas_says_how_to_build_one(cli, command):
    assert "No atlas at atlas/. Build one: satclip-index build --atlas atlas" in failed(cli(*command))


def damage_manifest(root):
    (root / "manifest.json").write_text("{")


def damage_parquet(root):
    path = next((root / "res=2" / "cells").iterdir())
    path.write_bytes(path.read_bytes()[:-100])


def damage_index(root):
    (root / "res=2" / "index.faiss").unlink()


@pytest.mark.parametrize("damage", [damage_manifest, damage_parquet, damage_index])
@pytest.mark.parametrize("command", [("like", "Lima", "-q"), ("sql", "FROM cells"), ("info",)])
def test_a_damaged_atlas_is_one_line(cli, atlas, copy_of, tmp_path, damage, command):
    root = copy_of(atlas)
    damage(root)
    assert str(root) in failed(cli(*command, atlas=root)).replace("/manifest.json", "")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("like",),
        ("like", "Lima", "--nonsense"),
        ("like", "Lima", "-k", "0"),
        ("like", "Lima", "-k", "many"),
        ("like", "Lima", "--apart", "-1"),
        ("like", "Lima", "--format", "docx"),
        ("sql", "SELECT 1", "--format", "docx"),
        ("info", "--format", "csv"),
        ("build", "--res", "x"),
    ],
)
def test_a_usage_error_is_exit_2_without_a_traceback(cli, atlas, arguments):
    failed(cli(*arguments, atlas=atlas), code=2)


def test_debug_shows_where_an_error_came_from(cli):
    done = cli("--debug", "like", "Lima")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("satclip_index.errors.AtlasNotFoundError: No atlas")


def test_help_and_version(cli):
    for arguments in (("--help",), ("-h",), ("like", "-h")):
        done = cli(*arguments)
        assert done.returncode == 0
        assert "Usage: satclip-index" in done.stdout
    assert re.fullmatch(r"satclip-index \d+\.\d+.*\n", cli("--version").stdout)


def test_brackets_in_an_error_are_shown_as_they_are(cli, atlas):
    assert "[bold]x[/bold]" in failed(cli("like", "[bold]x[/bold]", "-q", atlas=atlas))


# --- files


def test_a_file_appears_whole_or_not_at_all(cli, atlas, tmp_path):
    (tmp_path / "out.geojson").write_text("what was there")
    query = "SELECT lon, CASE WHEN row_number() OVER () < 900 THEN lat END AS lat FROM cells"
    failed(cli("sql", query, "-o", "out.geojson", atlas=atlas))
    assert (tmp_path / "out.geojson").read_text() == "what was there"
    query = "SELECT CASE WHEN i > 9000 THEN error('late') ELSE i END AS i FROM range(10000) t(i)"
    for name in ("out.csv", "out.parquet"):
        failed(cli("sql", query, "-o", name, atlas=atlas))
    assert [path.name for path in tmp_path.iterdir()] == ["out.geojson"]


def test_format_overrules_the_name_of_the_file(cli, atlas, tmp_path):
    assert cli(*LIKE, "-o", "data.txt", "--format", "csv", atlas=atlas).returncode == 0
    assert (tmp_path / "data.txt").read_text().startswith("rank,cell,")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "table", "parquet"])
def test_a_closed_pipe_is_quiet(atlas, kind):
    query = "SELECT res, i, hex(i) AS h FROM cells, range(60) t(i)"
    environment = child_environment({"SATCLIP_ATLAS": str(atlas.path)})
    with started([*CLI, "sql", query, "--format", kind], stdout=PIPE, stderr=PIPE, env=environment) as child:
        child.stdout.read(10)
        child.stdout.close()
        stderr = child.stderr.read().decode()
        child.wait(HANG_S)
    assert "Traceback" not in stderr
    assert "Broken" not in stderr


# --- sql and info


def test_sql_reads_the_query_from_standard_input(process, atlas):
    done = process("sql", "-", atlas=atlas, input="SELECT res, count(*) AS n FROM cells GROUP BY res ORDER BY res")
    assert answer(done) == [{"res": 1, "n": 842}, {"res": 2, "n": 5882}]


def test_sql_joins_a_file_by_its_name_and_writes_parquet(cli, atlas, tmp_path):
    cell = h3.latlng_to_cell(-1.29, 36.82, 2)
    (tmp_path / "mine.csv").write_text(f"cell,name\n{int(cell, 16)},here\n")
    done = cli("sql", "SELECT name, cells.* FROM 'mine.csv' JOIN cells USING (cell)", "-o", "out.parquet", atlas=atlas)
    assert done.returncode == 0, done.stderr
    found = duckdb.sql(f"SELECT name, res, cell, len(embedding) FROM '{tmp_path}/out.parquet'").fetchall()
    assert found == [("here", 2, int(cell, 16), 16)]
    done = cli("sql", "SELECT cell FROM 'mine.csv'", "--format", "csv", atlas=atlas)
    assert done.stdout.splitlines() == ["cell", cell]


def test_a_long_table_is_cut_and_says_so(cli, atlas):
    done = cli("sql", "SELECT cell, embedding FROM cells", "--format", "table", atlas=atlas)
    assert len(done.stdout.splitlines()) == 41
    assert "Only the first 40 rows" in done.stderr
    assert len(answer(cli("sql", "SELECT cell FROM cells WHERE res = 1", atlas=atlas))) == 842


def test_info_says_what_is_there(cli, atlas, encoder):
    text = cli("info", atlas=atlas)
    assert text.returncode == 0
    for words in ("842 cells", "5,882 cells", "L = 6, 16 dimensions", encoder.sha256, "land and sea"):
        assert words in text.stdout
    document = json.loads(cli("info", "--format", "json", atlas=atlas).stdout)
    assert document["encoder"]["sha256"] == encoder.sha256
    assert document["resolutions"]["2"]["count"] == 5882


# --- help


def examples(command):
    """Return the commands after ``Example...:`` in the help of a command."""
    import importlib

    module = importlib.import_module(f"satclip_cli.{command}")
    text = getattr(module, "run" if command == "train" else command).__doc__
    return [shlex.split(line) for line in re.findall(r"Example[^:]*: (satclip-index .*)", text)]


@pytest.mark.parametrize("command", ["build", "like", "unusual", "sql", "info", "verify", "probe", "serve", "train"])
def test_every_help_has_an_example_and_shows_it(cli, command):
    assert examples(command)
    shown = " ".join(cli(command, "--help", env={"COLUMNS": "300"}).stdout.split())
    for example in examples(command):
        words = f"{example[0]} {example[1]} {example[2]}"
        assert re.sub("['\"]", "", words) in re.sub("['\"]", "", shown)


@pytest.mark.parametrize("command", ["like", "unusual", "sql", "info", "verify", "build"])
def test_every_example_runs(cli, atlas, encoder_file, tmp_path, command):
    (tmp_path / "cities.csv").write_text(
        "name,lon,lat,population\nQuito,-78.5,-0.2,2700000\nLeticia,-69.9,-4.2,50000\n"
    )
    if command in ("info", "verify"):
        import shutil

        shutil.copytree(atlas.path, tmp_path / "world")
    for _, *arguments in examples(command):
        if command == "build":  # the same, smaller
            arguments = [{"3": "0", "4": "1"}.get(argument, argument) for argument in arguments]
            arguments += ["--encoder", str(encoder_file)]
        if command == "unusual":  # the fixture's finest is 2
            arguments = ["2" if argument == "3" else argument for argument in arguments]
        done = cli(*arguments, atlas=atlas)
        assert done.returncode == 0, done.stderr
        assert done.stdout or command == "build" or {"-o", "--save"} & set(arguments)


def test_a_narrow_terminal_is_spared_columns_and_never_the_names_of_places(atlas, tmp_path):
    """By a pseudo-terminal of 80 columns, as most are."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    program = "from satclip_cli.main import main; main()"
    arguments = ["like", "Nairobi", "--atlas", str(atlas.path), "-k", "3"]
    environment = child_environment() | {"TERM": "dumb"}
    environment.pop("COLUMNS")
    done = finished([sys.executable, "-c", program, *arguments], stdout=terminal, text=False, env=environment)
    shown = os.read(reader, 65536).decode()
    os.close(terminal)
    os.close(reader)
    assert done.returncode == 0, done.stderr
    lines = shown.splitlines()
    assert "nearest_city" in lines[0]
    assert "cell" not in lines[0]
    assert "…" not in shown
    assert all(len(line) <= 80 for line in lines)
    assert b"widen the terminal" in done.stderr
