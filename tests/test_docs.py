"""The documentation's commands are run here, on a real atlas, and what they show is what comes out."""

import io
import re
import shlex
import shutil
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path
from subprocess import STDOUT

import pytest

from .conftest import child_environment, exit_code
from .printed import differences
from .processes import finished

ROOT = Path(__file__).parent.parent
TABLES = ROOT.parent / "shared" / "data" / "tables"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = Path(sys.executable).with_name("satclip-index")


def _blocks(kind):
    return list(_found_blocks(kind))


def _found_blocks(kind):
    for page in PAGES:
        if page.name == "training.md":
            continue  # tests/train/test_tutorial.py runs it
        for number, body in enumerate(re.findall(rf"```{kind}\n(.*?)```", page.read_text(), flags=re.DOTALL)):
            yield pytest.param(body, id=f"{page.name}-{number}")


def _commands(body):
    """Yield each command of a console block with the output shown under it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = part.replace("\\\n", " ").partition("\n")
        yield shlex.split(command), output


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder in which `satclip-index build` was typed."""
    folder = tmp_path_factory.mktemp("world")
    with chdir(folder):
        code, printed = _in_this_process(["build"])
    assert code == 0, printed
    if TABLES.is_dir():
        shutil.copy(TABLES / "air_temperature_stations.csv", folder / "stations.csv")
        shutil.copy(TABLES / "populated_places.csv", folder / "places.csv")
    for page in PAGES:
        for name, body in re.findall(r"```sql\n-- (\w+\.sql)\n(.*?)```", page.read_text(), flags=re.DOTALL):
            (folder / name).write_text(body)
    return folder


@pytest.mark.parametrize("body", _blocks("console"))
def test_console_blocks_show_what_the_commands_print(world, body, request, monkeypatch):
    first = request.node.callspec.id == "README.md-0"
    run = _as_a_process if first else _in_this_process  # which saves seconds of starting
    monkeypatch.chdir(world)
    _write_what_others_make(world, body, request.node.callspec.id)
    for arguments, shown in _commands(body):
        assert arguments[0] == "satclip-index", "a console block types this program"
        if arguments[1] == "build":
            continue  # the fixture typed it
        if not TABLES.is_dir() and not _needs_no_tables(arguments):
            pytest.skip("the real data in ../shared are not here")
        for file in _made_by(arguments):
            (world / file).unlink(missing_ok=True)  # so that the order of tests does not matter
        code, printed = run(arguments[1:])
        assert code == 0, printed
        assert not differences(shown, printed), printed


def _made_by(arguments):
    """Return the files that a command writes."""
    return [value for name, value in pairwise(arguments) if name in ("-o", "--save", "--map")]


def _write_what_others_make(world, body, block):
    """Run the commands on the same page that write the files that a block reads."""
    if not TABLES.is_dir():
        return
    page = next(page for page in PAGES if block.startswith(page.name))
    for console in re.findall(r"```console\n(.*?)```", page.read_text(), flags=re.DOTALL):
        for arguments, _ in _commands(console) if console != body else ():
            if any(file in body and not (world / file).exists() for file in _made_by(arguments)):
                code, printed = _in_this_process(arguments[1:])
                assert code == 0, printed


def _as_a_process(arguments):
    """Return the exit code, and what a terminal shows: what is said and what is answered, as they come."""
    done = finished([COMMAND, *arguments], stderr=STDOUT, env=child_environment())
    return done.returncode, done.stdout


def _in_this_process(arguments):
    shown = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with redirect_stdout(shown), redirect_stderr(shown):
        code = exit_code(arguments)
    return code, shown.buffer.getvalue().decode()


def _needs_no_tables(arguments):
    """Whether a command reads neither the real tables nor what others made of them."""
    made = (".csv", ".parquet", ".geojson", ".sql")
    return not any(end in argument for argument in arguments for end in made)


@pytest.mark.parametrize("body", _blocks("python"))
def test_python_blocks_run(world, body, request, monkeypatch):
    monkeypatch.chdir(world)
    _write_what_others_make(world, body, request.node.callspec.id)
    if "README" in request.node.callspec.id:
        done = finished([sys.executable, "-c", body], env=child_environment())
        assert done.returncode == 0, done.stderr
    else:
        exec(compile(body, "block", "exec"), {"__name__": "__main__"})


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, ROOT / "benchmarks" / "RESULTS.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_names_every_command_in_help():
    help_text = finished([COMMAND, "--help"], env=child_environment()).stdout
    commands = re.findall(r"^│ (\w+)  ", help_text, flags=re.MULTILINE)
    pages = "".join(page.read_text() for page in PAGES)
    assert set(commands) >= {"build", "like", "sql", "info", "train"}
    for command in commands:
        assert f"satclip-index {command}" in pages, command
