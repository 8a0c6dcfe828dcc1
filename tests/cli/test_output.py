"""Where data go: full disks, odd encodings, pipes, links and errors in the middle of a document."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from ..conftest import CLI, child_environment
from ..processes import finished

FULL = Path("/dev/full")  # opened by the shell's redirection, never replaced
LATE = "SELECT i, CASE WHEN i > 90000 THEN error('late') ELSE 1.5 END AS lon, 2 AS lat FROM range(100000) t(i)"


def shell(command, atlas, cwd, **extra):
    """Run a shell command in which ``satclip`` is ours."""
    environment = child_environment({"SATCLIP_ATLAS": str(atlas.path), "COLUMNS": "100"} | extra)
    return finished(
        ["bash", "-c", f'satclip() {{ "$PYTHON" -c "$PROGRAM" "$@"; }}; {command}'],
        env=environment | {"PYTHON": CLI[0], "PROGRAM": CLI[2]},
        cwd=cwd,
    )


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize(
    "command",
    [
        "like Nairobi -q --format csv",
        "like Nairobi -q --format table",
        'sql "FROM range(100000)" --format json',
        'sql "FROM range(100000)" --format parquet',
        "info --format json",
        "--help",
        "--version",
    ],
)
def test_a_full_disk_behind_stdout_is_one_line(atlas, tmp_path, command):
    done = shell(f"satclip {command} > /dev/full", atlas, tmp_path)
    assert done.returncode == 1
    assert done.stderr == "Error: Standard output could not be written: No space left on device.\n"


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_full_disk_behind_a_link_is_one_line(atlas, tmp_path):
    (tmp_path / "link.csv").symlink_to("/dev/full")
    done = shell("satclip like Nairobi -q -o link.csv", atlas, tmp_path)
    assert (done.returncode, done.stderr) == (1, "Error: link.csv could not be written: No space left on device.\n")
    assert (tmp_path / "link.csv").is_symlink()
    assert stat.S_ISCHR(FULL.stat().st_mode)


def test_a_closed_stdout_is_one_line(atlas, tmp_path):
    done = shell("satclip like Nairobi -q --format csv >&-", atlas, tmp_path)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: Standard output could not be written: Bad file descriptor.\n",
    )


@pytest.mark.parametrize("rows", [1, 300_000])
def test_a_pipe_that_is_closed_early_is_quiet(atlas, tmp_path, rows):
    reader = "head -1" if rows > 1 else "true"
    done = shell(f'satclip sql "FROM range({rows})" --format csv | {reader}', atlas, tmp_path)
    assert done.stderr == ""


@pytest.mark.parametrize("extra", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_data_are_utf_8_whatever_the_terminal_has(atlas, tmp_path, extra):
    extra = {"PYTHONIOENCODING": "", "PYTHONCOERCECLOCALE": "0"} | extra
    formats = ("csv", "jsonl", "json", "geojson")
    query = "SELECT chr(252) || chr(128640) AS n, 1 AS lon, 2 AS lat"
    asked = "; ".join(f'satclip sql "{query}" --format {kind}' for kind in formats)
    done = shell(asked, atlas, tmp_path, **extra)
    assert done.stderr == ""
    assert done.stdout.count("ü\N{ROCKET}") == len(formats)
    table = shell(f'satclip sql "{query}" --format table', atlas, tmp_path, **extra)
    assert (table.returncode, table.stderr) == (0, "")
    assert "??" in table.stdout


@pytest.mark.parametrize("kind", ["json", "geojson"])
def test_a_document_on_stdout_is_complete_or_never_started(cli, atlas, tmp_path, kind):
    done = cli("sql", LATE, "--format", kind, atlas=atlas)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "Error: Invalid Input Error: late\n"
    done = cli("sql", LATE.replace("90000", "900000"), "--format", kind, atlas=atlas)
    assert len(next(value for value in json.loads(done.stdout).values() if isinstance(value, list))) == 100_000


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "geojson"])
def test_a_join_that_fails_at_once_prints_nothing(cli, atlas, tmp_path, kind):
    (tmp_path / "t.csv").write_text("lat,lon\n120,10\n-99,20\n")
    done = cli("join", "t.csv", "--format", kind, "-q", atlas=atlas)
    assert (done.returncode, done.stdout) == (1, "")


def test_links_and_pipes_named_by_o_stay_what_they_are(cli, atlas, tmp_path):
    expected = cli("like", "Nairobi", "-q", "--format", "json", atlas=atlas).stdout
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "real.json").chmod(0o600)
    (tmp_path / "link.json").symlink_to("real.json")
    assert cli("like", "Nairobi", "-q", "-o", "link.json", atlas=atlas).returncode == 0
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == expected
    assert stat.S_IMODE((tmp_path / "real.json").stat().st_mode) == 0o600

    os.mkfifo(tmp_path / "pipe.json")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe.json").read_text()))
    reader.start()
    assert cli("like", "Nairobi", "-q", "-o", "pipe.json", atlas=atlas).returncode == 0
    reader.join()
    assert received == [expected]
    done = shell("satclip like Nairobi -q -o /dev/stdout --format json", atlas, tmp_path)
    assert done.stdout == expected


def test_like_join_embed_and_sql_print_the_same_values_alike(cli, atlas, tmp_path):
    (tmp_path / "t.csv").write_text('lon,lat,name\n36.82,-1.29,"a, b"\n-78.5,-0.2,ü\n')
    joined = cli("join", "t.csv", "--like", "Nairobi", "--embedding", "none", "-q", "--format", "csv", atlas=atlas)
    (tmp_path / "joined.csv").write_text(joined.stdout)
    again = cli("sql", "SELECT * EXCLUDE similarity FROM 'joined.csv'", "--format", "csv", atlas=atlas)
    assert again.stdout.splitlines()[1:] == [line.rpartition(",")[0] for line in joined.stdout.splitlines()[1:]]
    assert joined.stdout.splitlines()[0] == "lon,lat,name,cell,similarity"
    found = cli(
        "like", "36.82,-1.29", "--table", "t.csv", "-q", "--exclude-within", "0", "--format", "jsonl", atlas=atlas
    )
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert {row["cell"] for row in rows} <= {line.split(",")[-2] for line in joined.stdout.splitlines()}


def test_a_column_that_is_only_called_a_cell_stays_a_number(cli, atlas, tmp_path):
    (tmp_path / "t.csv").write_text("lon,lat,people_per_cell\n36.82,-1.29,594602324978172927\n")
    done = cli("join", "t.csv", "--embedding", "none", "-q", "--format", "jsonl", atlas=atlas)
    row = json.loads(done.stdout)
    assert (row["people_per_cell"], row["cell"]) == (
        594602324978172927,
        f"{atlas.join(str(tmp_path / 't.csv')).to_arrow()['cell'][0].as_py():x}",
    )
    done = cli("sql", "SELECT 12::UBIGINT AS people_per_cell", "--format", "jsonl", atlas=atlas)
    assert json.loads(done.stdout) == {"people_per_cell": 12}
