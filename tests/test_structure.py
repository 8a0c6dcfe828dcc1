"""Imports point down, heavy libraries have one owner, and light commands stay light."""

import ast
import json
from pathlib import Path

import pytest

from .conftest import ROOT

HEAVY = [
    "torch",
    "numba",
    "scipy",
    "faiss",
    "pyarrow",
    "duckdb",
    "shapely",
    "pandas",
    "huggingface_hub",
    "global_land_mask",
    "fsspec",
    "ray",
    "lancedb",
    "matplotlib",
    "bokeh",
    "tornado",
]


def modules():
    """Return every module of the three packages, by name."""
    found = {}
    for package in (ROOT / "satclip_index", ROOT / "cli" / "satclip_cli", ROOT / "train" / "satclip_train"):
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def test_the_library_does_not_print():
    for name, path in MODULES.items():
        if name.startswith("satclip_index"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            assert not [call for call in calls if getattr(call.func, "id", "") == "print"], name


LOADED = """
import json, sys
status = 0
{work}
sys.stderr.write("\\nLOADED " + json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})) + "\\n")
"""


def loaded(run_python, work, **options):
    """Return the top-level modules in memory after a piece of work, and what it printed."""
    done = run_python(LOADED.format(work=work), **options)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rpartition("LOADED ")[2])), done.stdout


def command(*arguments):
    return (
        f"from satclip_cli.main import main\ntry:\n    main({list(arguments)!r})\n"
        "except SystemExit as end:\n    assert not end.code, end.code"
    )


def commands(*several):
    """Return the work of commands one after another: what none of them loads is in memory after none."""
    return "\n".join(command(*arguments) for arguments in several)


def test_importing_the_library_loads_nothing_heavy(run_python):
    names, _ = loaded(run_python, "import satclip_index")
    assert not names & {*HEAVY, "h3", "numpy"}


def test_help_loads_nothing_heavy(run_python):
    helps = [(name, "--help") for name in ("like", "build", "sql", "info", "join", "serve")]
    names, stdout = loaded(run_python, commands(("--help",), *helps))
    assert stdout.count("Usage:") == 7
    assert not names & set(HEAVY)


def test_like_on_a_stored_cell_loads_neither_torch_nor_faiss(run_python, atlas):
    places = ("Nairobi", "36.8,-1.3", "811f3ffffffffff")
    options = ("--atlas", str(atlas.path), "--format", "jsonl")
    names, stdout = loaded(run_python, commands(*(("like", place, *options) for place in places)))
    assert len(stdout.splitlines()) == 30
    assert not names & {"torch", "faiss", "duckdb", "pandas", "shapely", "global_land_mask", "huggingface_hub"}


def test_sql_and_info_load_neither_torch_nor_faiss(run_python, atlas):
    where = ("--atlas", str(atlas.path))
    work = commands(("sql", "SELECT count(*) FROM cells", "--format", "csv", *where), ("info", *where))
    names, stdout = loaded(run_python, work)
    assert "count_star()" in stdout
    assert "encoder" in stdout
    assert not names & {"torch", "faiss", "pandas", "global_land_mask"}


def test_a_join_of_stored_cells_loads_neither_torch_nor_faiss_nor_pandas(run_python, atlas, tmp_path):
    (tmp_path / "t.csv").write_text("lon,lat\n1,2\n3,\n")
    arguments = ("join", str(tmp_path / "t.csv"), "--like", "Lima", "--atlas", str(atlas.path), "-o")
    work = commands(*((*arguments, str(tmp_path / f"out.{kind}")) for kind in ("parquet", "jsonl")))
    names, _ = loaded(run_python, work)
    assert all((tmp_path / f"out.{kind}").is_file() for kind in ("parquet", "jsonl"))
    assert not names & {"torch", "faiss", "pandas", "shapely", "global_land_mask", "huggingface_hub"}


def test_every_public_name_is_there_and_an_unknown_one_is_not():
    import satclip_index

    for name in satclip_index.__all__:
        assert getattr(satclip_index, name).__name__ == name
        assert name in dir(satclip_index)
    with pytest.raises(AttributeError, match="attribute nothing"):
        _ = satclip_index.nothing


def test_packages_are_marked_as_typed():
    assert all((Path(MODULES[name]).parent / "py.typed").is_file() for name in ("satclip_index", "satclip_train"))
