"""``satclip-index export`` as a person meets it."""

import lancedb
import pytest

from .test_cli import examples, failed


def test_the_examples_of_its_help_are_commands_that_run(cli, atlas, tmp_path):
    import re
    import shlex

    from satclip_cli import export

    told = [
        *examples("export"),
        *map(shlex.split, re.findall(r"Example[^:]*: (satclip-index .*)", export.lance.__doc__)),
    ]
    assert len(told) == 3
    shown = " ".join(cli("export", "lance", "--help", env={"COLUMNS": "300"}).stdout.split())
    assert "satclip-index export lance planet.lance" in shown
    assert "export lance planet.lance" in cli("export", "--help", env={"COLUMNS": "300"}).stdout
    local = [arguments for _, *arguments in told if "s3:" not in " ".join(arguments)]
    for arguments in local:
        done = cli(*arguments, "--force", atlas=atlas)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    assert lancedb.connect(tmp_path / "planet.lance").list_tables().tables == ["cells_1", "cells_2"]


def test_it_says_how_to_ask_and_what_it_says_works(cli, atlas, tmp_path, monkeypatch):
    done = cli("export", "lance", "x.lance", "--res", "1", atlas=atlas)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    assert eval(done.stderr.splitlines()[-1]).count_rows() == 842


def test_quiet_says_nothing_and_a_second_time_needs_force(cli, atlas):
    arguments = ("export", "lance", "x.lance", "--res", "1", "--quiet")
    assert cli(*arguments, atlas=atlas).stderr == ""
    assert "--force" in failed(cli(*arguments, atlas=atlas))
    assert cli(*arguments, "--force", atlas=atlas).stderr == ""


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["x.lance", "--res", "5"], 1, "holds resolution 1, 2"),
        (["ftp://x/y"], 1, "s3://"),
        ([], 2, "DEST"),
        (["x.lance", "--res", "two"], 2, "--res"),
    ],
)
def test_what_cannot_be_is_refused(cli, atlas, arguments, code, complaint):
    assert complaint in failed(cli("export", "lance", *arguments, atlas=atlas), code)


def test_an_unknown_format_names_those_there_are(cli):
    assert "No such command" in failed(cli("export", "zarr", "x"), 2)
