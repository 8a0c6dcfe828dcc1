"""From nothing to an answer; a build that is interrupted; encoders that are not what they say."""

import os
import signal

import pytest
import torch

from ..conftest import CLI, child_environment
from ..processes import finished, signal_at
from .test_cli import answer, failed


def test_build_then_like_then_sql(process, cli, encoder_file, tmp_path):
    done = process("build", "--encoder", encoder_file, "--res", "0", "--res", "1", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Building atlas/: 122 + 842 cells" in done.stderr
    assert "Try: satclip-index like Nairobi" in done.stderr
    assert len(answer(process("like", "Nairobi"))) == 10
    assert answer(process("sql", "SELECT count(*) AS n FROM cells")) == [{"n": 964}]
    assert "--force" in failed(cli("build", "-q", "--encoder", encoder_file, "--res", "0"))


@pytest.mark.slow
def test_an_interrupted_build_says_how_to_go_on_and_goes_on(cli, encoder_file, tmp_path):
    options = ["build", "--encoder", str(encoder_file), "--res", "1", "--res", "4", "--device", "cpu", "--workers", "1"]
    program = f"{signal_at(20, signal.SIGINT)}; {CLI[-1]}"  # files of several shards of res 4 have taken their places
    done = finished([*CLI[:-1], program, *options], cwd=tmp_path, env=child_environment())
    assert "--resume" in done.stderr
    assert done.returncode not in (0, -signal.SIGINT)
    assert "--resume" in failed(cli(*options, "-q"))
    assert "has res 1, 4; this one has 1" in failed(cli(*options[:5], "--resume", "-q"))
    done = cli(*options, "--resume")
    assert done.returncode == 0, done.stderr
    assert cli("verify", "--quick", atlas=tmp_path / "atlas").returncode == 0


@pytest.mark.slow
def test_build_replaces_by_force_and_leaves_out_the_sea(cli, encoder_file, atlas, copy_of):
    root = copy_of(atlas)
    options = ("--atlas", root, "--encoder", encoder_file, "--res", "0", "--force", "--land-only")
    done = cli("build", "-q", *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert answer(cli("sql", "SELECT DISTINCT res, land FROM cells", atlas=root)) == [{"res": 0, "land": True}]


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_a_malicious_checkpoint_is_one_line_and_runs_nothing(cli, tmp_path):
    torch.save({"state_dict": {}, "hyper_parameters": Bomb(tmp_path / "ran")}, tmp_path / "evil.ckpt")
    line = failed(cli("build", "-q", "--encoder", "evil.ckpt"))
    assert "No code in it was run" in line
    assert [path.name for path in tmp_path.iterdir()] == ["evil.ckpt"]
