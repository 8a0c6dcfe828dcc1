"""``satclip-index sql`` as a person meets it: files, parameters, the prompt, and --safe."""

import contextlib
import os
import pty
import re
import select
import sys

import pytest

from ..conftest import CLI, child_environment
from ..processes import HANG_S, finished, started
from .test_cli import answer

NAIROBI = ["-p", "lon=36.82", "-p", "lat=-1.29"]


def test_a_file_of_sql_is_asked(cli, atlas, tmp_path):
    (tmp_path / "ask.sql").write_text("\ufeff-- how many\nSELECT count(*) AS n\nFROM cells;\n", encoding="utf-8")
    assert answer(cli("sql", "-f", "ask.sql", atlas=atlas)) == [{"n": 6724}]


def test_sql_on_standard_input_needs_no_dash(cli, atlas):
    assert answer(cli("sql", atlas=atlas, input="SELECT 1 AS a")) == [{"a": 1}]


def test_parameters_are_bound_with_the_type_that_json_gives_them(cli, atlas):
    query = "SELECT typeof($i) AS i, $f + 1 AS f, $b AS b, $t AS t, $q AS q, $n AS n, len($l) AS l"
    given = ["i=5", "f=0.5", "b=true", "t=plain; DROP VIEW cells", 'q="5"', "n=null", "l=[1, 2]"]
    found = answer(cli("sql", query, *(part for item in given for part in ("-p", item)), atlas=atlas))
    assert found == [{"i": "INTEGER", "f": 1.5, "b": True, "t": "plain; DROP VIEW cells", "q": "5", "n": None, "l": 2}]


def test_places_like_a_parameter_are_those_of_like(cli, atlas):
    found = answer(cli("sql", "FROM places_like($lon, $lat, k := 5) ORDER BY rank", *NAIROBI, atlas=atlas))
    expected = answer(cli("like", "36.82,-1.29", "-k", "5", "-q", atlas=atlas))
    assert [row["cell"] for row in found] == [row["cell"] for row in expected]


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["-f", "missing.sql"], 1, "missing.sql cannot be read"),
        (["SELECT 1", "-f", "ask.sql"], 2, "not both"),
        (["SELECT $a", "-p", "a"], 2, "NAME=VALUE"),
        (["SELECT $a", "-p", "1a=2"], 2, "NAME=VALUE"),
        (["SELECT $a"], 1, "a"),
        (["SELECT 1", "-p", "a=1"], 1, "mismatch"),
        (["FROM places_like(100, 200)"], 1, "swapped"),
        (["FROM places_like(1, 2, res := 9)"], 1, "--res 9"),
        (["CREATE OR REPLACE VIEW satclip.cells AS SELECT 1; FROM cells WHERE nothing"], 1, "nothing"),
        (["--safe", "FROM 'ask.sql'"], 1, "ask.sql"),
        (["--safe", "COPY (SELECT 1) TO 'x.csv'"], 1, "disabled by configuration"),
    ],
)
def test_what_cannot_be_is_refused(cli, atlas, tmp_path, arguments, code, complaint):
    (tmp_path / "ask.sql").write_text("SELECT 1")
    done = cli("sql", *arguments, atlas=atlas)
    assert done.returncode == code
    assert complaint in re.sub(r"[│\s]+", " ", done.stderr)
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ask.sql"]


def test_a_safe_query_reads_the_atlas(cli, atlas):
    assert answer(cli("sql", "--safe", "SELECT count(*) AS n FROM cells", atlas=atlas)) == [{"n": 6724}]


def test_save_writes_a_file_that_duckdb_asks_alone(cli, atlas, tmp_path):
    done = cli("sql", "--save", "geo.duckdb", atlas=atlas)
    assert done.returncode == 0, done.stderr
    (query,) = re.findall(r"ATTACH .*;", done.stderr)
    program = "import duckdb, sys; print(duckdb.execute(sys.argv[1]).fetchall()[0][1])"
    alone = finished([sys.executable, "-c", program, query], cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert int(alone.stdout) == atlas.like((36.8, -1.3)).cell[0]
    again = cli("sql", "--save", "geo.duckdb", atlas=atlas)
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert cli("sql", "--save", "geo.duckdb", "--force", atlas=atlas).returncode == 0
    assert cli("sql", "SELECT 1", "--save", "x.duckdb", atlas=atlas).returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["geo.duckdb"]


class Terminal:
    """A person at a terminal: types, and reads what comes."""

    def __init__(self, process, file):
        self._process, self._file = process, file

    def read_until(self, text, *, again=""):
        """Return what comes up to some text, having typed ``again`` whenever nothing comes for a while."""
        found = ""
        while text not in found:
            if select.select([self._file], [], [], 5 if again else HANG_S)[0]:
                found += os.read(self._file, 65536).decode(errors="replace")
            else:
                assert again, found
                self.type(again)
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", found)

    def type(self, text):
        os.write(self._file, text.encode())

    def close(self):
        with contextlib.suppress(OSError):  # the other side is closed
            while os.read(self._file, 65536):
                pass
        return self._process.wait(HANG_S)


@pytest.fixture
def terminal(atlas, tmp_path):
    env = {"SATCLIP_ATLAS": str(atlas.path), "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "120"}
    program = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {CLI[-1]}"  # the session's own terminal
    with contextlib.ExitStack() as stack:

        def open_one():
            file, theirs = pty.openpty()
            stack.callback(os.close, file)
            streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
            try:
                process = stack.enter_context(
                    started([*CLI[:-1], program, "sql"], env=child_environment(env), **streams)
                )
            finally:
                os.close(theirs)
            return Terminal(process, file)

        yield open_one


def test_the_prompt_answers_statements_survives_errors_and_keeps_a_history(terminal, tmp_path):
    person = terminal()
    person.read_until("satclip> ")
    person.type("SELECT 'a;\n")
    person.read_until("...> ")
    person.type("b' AS odd, count(*) AS n -- ;\n")
    person.read_until("...> ")
    person.type("FROM cells;\n")
    assert "6724" in person.read_until("satclip> ")
    person.type("SELECT nothing;\n")
    assert "Error: " in person.read_until("satclip> ")
    person.type(".tables\n")
    assert "cells" in person.read_until("satclip> ")
    person.type("SELECT * FROM places_l\t(0, 0, k := 2);\n")
    assert "distance_km" in person.read_until("satclip> ")
    person.type("\x04")
    assert person.close() == 0
    assert "FROM cells;" in (tmp_path / "state" / "satclip-index" / "sql_history").read_text()

    again = terminal()
    again.read_until("satclip> ")
    again.type("\x1b[A\r")  # the last line, by the arrow key
    assert "distance_km" in again.read_until("satclip> ")
    again.type(".exit\n")
    assert again.close() == 0


def test_control_c_ends_a_statement_and_not_the_prompt(terminal, tmp_path):
    person = terminal()
    person.read_until("satclip> ")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    once = f"read_csv('{pipe}', columns = {{n: 'INT'}}, auto_detect = false, header = false)"
    person.type(f"SELECT sum(n * a.range * b.range) FROM range(10000000) a, range(10000000) b, {once};\n")
    pipe.write_text("1\n")  # which waits until the statement reads it
    person.type("\x03")
    assert "Interrupted." in person.read_until("satclip> ")
    person.type("SELECT half\n")
    person.read_until("...> ")
    person.type("\x03")
    person.read_until("satclip> ", again="\x03")  # readline shows a prompt a moment before it listens for signals
    shown = ""
    while "42" not in shown:  # what is typed before a late Ctrl-C is heard is lost
        person.type("SELECT 6 * 7 AS answer;\n")
        shown = person.read_until("satclip> ")
    person.type("\x04")
    assert person.close() == 0
