import json

import duckdb
import numpy as np
import pytest

import satclip_index as si
from satclip_index.errors import AtlasExistsError, OutputError, ResolutionError

from ..oracles import stored

NAIROBI = (36.8, -1.3)


@pytest.fixture(scope="module")
def file(atlas, tmp_path_factory):
    return atlas.to_duckdb(tmp_path_factory.mktemp("alone") / "planet.duckdb")


@pytest.fixture(scope="module")
def connection(file):
    with duckdb.connect(str(file), read_only=True) as opened:
        yield opened


def column(connection, query, *parameters):
    """Return the only column of an answer."""
    return [value for (value,) in connection.execute(query, parameters).fetchall()]


# Which ways the file can be opened in.

ALONE = """
import json, sys
import duckdb
folder, read_only, statements = sys.argv[1], sys.argv[2] == "True", json.loads(sys.argv[3])
database, *statements = statements
connection = duckdb.connect(database.format(folder), read_only=read_only)
for statement in statements:
    found = connection.sql(statement.format(folder))
assert not {name for name in sys.modules if name.startswith("satclip")}
print(json.dumps(found.fetchall()))
"""
ASK = "SELECT cell, similarity FROM {}places_like(36.8, -1.3) ORDER BY rank"
WAYS = [
    ("{}/planet.duckdb", ASK),
    ("{}/planet.duckdb", "SELECT cell, similarity FROM geo.places_like(36.8, -1.3)"),
    (":memory:", "ATTACH '{}/planet.duckdb' AS geo", "SELECT cell, similarity FROM geo.places_like(36.8, -1.3)"),
    (":memory:", "ATTACH '{}/planet.duckdb'", "USE planet", ASK),
    (":memory:", "ATTACH '{}/planet.duckdb' AS sat", "USE sat", ASK),
    ("{}/geo.duckdb", ASK),
    ("{}/geo.duckdb", "SELECT cell, similarity FROM geo.places_like(36.8, -1.3)"),
    (":memory:", "ATTACH '{}/geo.duckdb'", "SELECT cell, similarity FROM geo.places_like(36.8, -1.3)"),
    (":memory:", "ATTACH '{}/geo.duckdb' (READ_ONLY)", "USE geo", ASK),
    ("{}/Geo.v2.db", ASK),
    (":memory:", "ATTACH '{}/Geo.v2.db'", "SELECT cell, similarity FROM geo.places_like(36.8, -1.3)"),
]


@pytest.fixture(scope="module")
def folder(atlas, file):
    for name in ("geo.duckdb", "Geo.v2.db"):
        atlas.to_duckdb(file.with_name(name))
    return file.parent


@pytest.mark.parametrize(
    ("read_only", "way"), [(read_only, way) for way in WAYS for read_only in {False, way[0] != ":memory:"}], ids=str
)
def test_a_process_with_nothing_but_duckdb_can_ask(run_python, folder, atlas, way, read_only):
    way = [statement.replace(ASK, ASK.replace("{}", "")) for statement in way]
    done = run_python(ALONE, folder, read_only, json.dumps(way))
    assert done.returncode == 0, done.stderr
    expected = atlas.like(NAIROBI)
    assert [tuple(row) for row in json.loads(done.stdout)] == list(
        zip(expected.cell.tolist(), expected.similarity.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    "expression",
    [
        "geo.h3_latlng_to_cell(-1.3, 36.8, 2) = geo.satclip_cell(36.8, -1.3)",
        "geo.h3_get_resolution(geo.h3_cell_to_parent('821f37fffffffff', 1)) = 1",
        "geo.h3_string_to_h3(geo.h3_h3_to_string(geo.satclip_cell(1, 2))) = geo.satclip_cell(1, 2, res := 2)",
        "geo.h3_cell_to_lat('821f37fffffffff') > 0 AND geo.h3_cell_to_lng('821f37fffffffff') > 0",
        "(SELECT geo.satclip_similarity(e, e) > 0.99 FROM (SELECT geo.satclip_embedding(geo.satclip_cell(1, 2)) AS e))",
        "geo.satclip_percentile(1.0) = 100 AND geo.satclip_distance_km(0, 0, 1, 0) > 100",
        "(SELECT count(*) FROM geo.cells) = 6724 AND (SELECT count(*) FROM geo.atlas) = 2",
    ],
)
def test_every_macro_works_where_the_file_is_attached(folder, expression):
    for name in ("planet.duckdb", "geo.duckdb"):
        with duckdb.connect() as opened:
            opened.execute(f"ATTACH '{folder / name}' AS geo (READ_ONLY)")
            assert opened.sql(f"SELECT {expression}").fetchall() == [(True,)]


@pytest.mark.parametrize(
    ("alias", "use", "ask"), [("sat", "memory", "FROM sat.places_like(1, 2)"), ("geo", "geo", "FROM places_like(1, 2)")]
)
def test_two_ways_do_not_work_and_duckdb_says_that_it_is_the_name(file, alias, use, ask):
    with duckdb.connect() as opened:
        opened.execute(f"ATTACH '{file}' AS {alias} (READ_ONLY); USE {use}")
        with pytest.raises(duckdb.Error, match="geo"):
            opened.sql(ask).fetchall()


# What it holds.


def test_its_cells_are_those_of_the_parquet_files_in_their_order(connection, atlas):
    described = [(name, kind) for name, kind, *_ in connection.sql("DESCRIBE cells").fetchall()]
    with si.connect(atlas) as ours:
        assert described == [(name, kind) for name, kind, *_ in ours.sql("DESCRIBE cells").fetchall()]
    found = connection.sql("FROM cells").fetchnumpy()  # in the order of the file
    assert np.asarray(found["res"]).tolist() == [1] * 842 + [2] * 5882
    for res in (1, 2):
        expected, rows = stored(atlas, res), np.asarray(found["res"]) == res
        for name in ("cell", "lon", "lat", "land", "norm"):
            np.testing.assert_array_equal(np.asarray(found[name])[rows], expected[name])
        np.testing.assert_array_equal(np.stack(found["embedding"][rows]), expected["embedding"])


def test_it_says_what_made_it(connection, atlas):
    found = connection.sql("SELECT * FROM atlas ORDER BY res").fetchall()
    encoder = atlas.manifest.encoder
    assert found == [
        (res, entry.count, entry.land_count, False, 16, "tiny", encoder["sha256"], "0.1.0")
        for res, entry in atlas.manifest.resolutions.items()
    ]


def test_one_resolution_can_be_taken_alone(atlas, tmp_path):
    calls = []
    path = atlas.to_duckdb(tmp_path / "one.duckdb", res=1, progress=lambda done, total: calls.append((done, total)))
    assert path == tmp_path / "one.duckdb"
    assert calls == [(842, 842)]
    with duckdb.connect(str(path), read_only=True) as opened:
        assert opened.sql("SELECT res, count(*) FROM cells GROUP BY res").fetchall() == [(1, 842)]
        assert column(opened, "SELECT h3_get_resolution(satclip_cell(1, 2))") == [1]
        found = column(opened, "SELECT cell FROM places_like(36.8, -1.3)")
        assert found == atlas.like(NAIROBI, res=1).cell.tolist()
        with pytest.raises(duckdb.Error, match=r"holds resolution 1, not 2"):
            opened.sql("FROM places_like(36.8, -1.3, res := 2)").fetchall()


# The file itself.


def test_nothing_but_the_file_is_left(atlas, tmp_path):
    atlas.to_duckdb(tmp_path / "planet.duckdb", res=[1])
    assert [path.name for path in tmp_path.iterdir()] == ["planet.duckdb"]


def test_a_file_that_is_there_is_replaced_only_if_told_to(atlas, tmp_path):
    path = tmp_path / "planet.duckdb"
    path.write_text("mine")
    with pytest.raises(AtlasExistsError, match="--force"):
        atlas.to_duckdb(path)
    assert path.read_text() == "mine"
    path.with_name("planet.duckdb.wal").write_text("the old file's")
    atlas.to_duckdb(path, res=1, force=True)
    with duckdb.connect(str(path), read_only=True) as opened:
        assert column(opened, "SELECT count(*) FROM cells") == [842]
    assert [file.name for file in tmp_path.iterdir()] == ["planet.duckdb"]


def test_what_goes_wrong_on_the_way_leaves_the_old_file_alone(atlas, tmp_path):
    path = atlas.to_duckdb(tmp_path / "planet.duckdb", res=1)
    before = path.read_bytes()

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atlas.to_duckdb(path, force=True, progress=stop)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["nowhere/x.duckdb", "", "a\0b", "x" * 300, "folder", "/proc/x.duckdb"])
def test_a_place_that_cannot_be_written_is_named_in_one_line(atlas, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError) as raised:
        atlas.to_duckdb(name)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("name", ["it's.duckdb", "a b*c?.db", "md:x", ":memory:", "temp.duckdb", "ü", "memory.duckdb"])
def test_a_name_is_only_a_name(atlas, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert atlas.to_duckdb(name, res=1).is_file()
    with duckdb.connect(str(tmp_path / name), read_only=True) as opened:
        assert column(opened, "SELECT count(*) FROM places_like(36.8, -1.3)") == [10]


def test_a_resolution_that_is_not_held_is_refused(atlas, tmp_path):
    for res in (3, [1, 3]):
        with pytest.raises(ResolutionError, match="holds resolution 1, 2"):
            atlas.to_duckdb(tmp_path / "x.duckdb", res=res)
    with pytest.raises(ResolutionError):
        atlas.to_duckdb(tmp_path / "x.duckdb", res=[])
    assert not list(tmp_path.iterdir())
