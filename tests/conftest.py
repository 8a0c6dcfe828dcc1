"""Tiny, seeded things that every test may use: encoders, atlases, and the command line as a process."""

import io
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import satclip_index as si

from .oracles import make_encoder
from .processes import HEAR_CTRL_C, finished

settings.register_profile("default", deadline=None, max_examples=50, database=None, derandomize=True)
settings.load_profile("default")

torch.set_num_threads(1)  # the machine's cores are pytest-xdist's

# Whatever terminal, continuous integration or account the tests are run from.
os.environ["COLUMNS"] = "80"
_SETTINGS = "FORCE_COLOR NO_COLOR PY_COLORS GITHUB_ACTIONS LINES TERMINAL_WIDTH TTY_COMPATIBLE TTY_INTERACTIVE"
for name in f"{_SETTINGS} SATCLIP_ATLAS HF_HUB_OFFLINE HF_ENDPOINT RAY_ADDRESS AWS_PROFILE".split():
    os.environ.pop(name, None)

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"  # real data, absent from a plain clone
CLI = [sys.executable, "-c", HEAR_CTRL_C + "from satclip_cli.main import main; main()"]


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        if "slow" in item.keywords and "slow" not in config.option.markexpr:
            item.add_marker(pytest.mark.skip(reason="slow; run with -m slow"))


@pytest.fixture(scope="session")
def encoder():
    return make_encoder()


@pytest.fixture(scope="session")
def encoder_file(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "tiny.safetensors"
    encoder.save(path)
    return path


@pytest.fixture(scope="session")
def atlas(encoder_file, tmp_path_factory):
    """Hold res 1 and 2, land and sea."""
    return si.build_atlas(tmp_path_factory.mktemp("whole") / "atlas", encoder=encoder_file, res=[1, 2], device="cpu")


@pytest.fixture(scope="session")
def land_atlas(encoder_file, tmp_path_factory):
    """Hold res 1 and 2, land only."""
    path = tmp_path_factory.mktemp("land") / "atlas"
    return si.build_atlas(path, encoder=encoder_file, res=[1, 2], device="cpu", land_only=True)


@pytest.fixture
def copy_of(tmp_path):
    """Copy an atlas, to be damaged."""
    import shutil

    def copy(atlas):
        return Path(shutil.copytree(atlas.path, tmp_path / "copy"))

    return copy


@pytest.fixture
def run_python():
    """Run a Python program in a fresh process, with this checkout on its path."""

    def run(program, *arguments, env=None, **options):
        return finished([sys.executable, "-c", program, *arguments], env=child_environment(env), **options)

    return run


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run ``satclip-index`` in an empty folder, as a process would; stdout is bytes if ``text=False``.

    It runs inside this process, which saves the second or two of every start; ``process`` is a real one.
    """

    def run(*arguments, atlas=None, env=None, cwd=None, text=True, input=None):
        extra = dict(env or {}) | ({"SATCLIP_ATLAS": str(getattr(atlas, "path", atlas))} if atlas is not None else {})
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        given = input if isinstance(input, bytes) else (input or "").encode()
        with monkeypatch.context() as patch:
            patch.chdir(cwd or tmp_path)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            for name in set(os.environ) - set(child_environment()):
                patch.delenv(name)
            for name, value in extra.items():
                patch.setenv(name, value)
            code = exit_code(list(map(str, arguments)))
        shown = [stream.buffer.getvalue() for stream in (out, err)]
        return subprocess.CompletedProcess(arguments, code, *(part.decode() if text else part for part in shown))

    return run


def exit_code(arguments):
    """Return what the program would exit with."""
    from satclip_cli.main import main

    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A real object store, which s3fs finds while the module's tests run."""
    from .object_store import ObjectStore, environment

    with ObjectStore(tmp_path_factory.mktemp("store")) as running, environment(running.env):
        yield running


@pytest.fixture
def process(tmp_path):
    """Run ``satclip-index`` in a process of its own, in an empty folder; stdout is bytes if ``text=False``."""

    def run(*arguments, atlas=None, env=None, cwd=None, text=True, **options):
        extra = dict(env or {}) | ({"SATCLIP_ATLAS": str(getattr(atlas, "path", atlas))} if atlas is not None else {})
        return finished([*CLI, *arguments], text=text, cwd=cwd or tmp_path, env=child_environment(extra), **options)

    return run


@pytest.fixture(scope="session")
def builders(encoder_file):
    """One process that builds again and again."""
    from .builders import started_builders

    with started_builders(encoder_file) as running:
        yield running


def child_environment(extra=None):
    path = os.pathsep.join([*(str(ROOT / part) for part in ("", "cli", "train")), os.environ.get("PYTHONPATH", "")])
    kept = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_START"}
    return kept | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"} | (extra or {})
