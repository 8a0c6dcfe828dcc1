"""An atlas in LanceDB is opened with the real LanceDB, and asked what the atlas itself is asked."""

import json
import sys

import lancedb
import numpy as np
import pyarrow as pa
import pytest

import satclip_index as si
from satclip_index.errors import (
    AtlasExistsError,
    CorruptAtlasError,
    MissingExtraError,
    OutputError,
    ResolutionError,
)

from ..oracles import all_cells, make_encoder, similarity, stored

NAIROBI, LIMA = (36.8, -1.3), (-77.0, -12.0)
SOUTH_AMERICA = (-82, -56, -34, 13)
ALL = 1_000_000  # more partitions than there are: all are searched


@pytest.fixture(scope="module")
def folder(atlas, tmp_path_factory):
    return atlas.to_lance(tmp_path_factory.mktemp("lance") / "planet.lance")


def opened(folder, res):
    return lancedb.connect(folder).open_table(f"cells_{res}")


def search(table, query, condition, k=10):
    """Return the search that docs/scale.md recommends: all partitions, and 1,000 candidates ranked again."""
    found = table.search(query).distance_type("dot").nprobes(ALL).refine_factor(-(-1000 // k)).limit(k)
    return found.where(condition) if condition else found


def ask(table, query, condition, k=10):
    answer = search(table, query, condition, k).to_arrow()
    return answer["cell"].to_pylist(), 1 - np.asarray(answer["_distance"])


def in_box(columns, west, south, east, north):
    return (columns["lon"] >= west) & (columns["lon"] <= east) & (columns["lat"] >= south) & (columns["lat"] <= north)


# What it holds.


@pytest.mark.parametrize("res", [1, 2])
def test_its_rows_are_those_of_the_atlas_in_their_order(folder, atlas, res):
    table, expected = opened(folder, res).to_arrow(), stored(atlas, res)
    for name in ("cell", "lon", "lat", "land", "norm"):
        np.testing.assert_array_equal(table[name].to_numpy(), expected[name])
    embedding = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 16)
    np.testing.assert_array_equal(embedding, expected["embedding"])
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 16)
    assert table["res"].unique().to_pylist() == [res]


def test_parents_are_those_of_h3_and_only_coarser_ones_are_there(folder):
    import h3

    table = opened(folder, 2).to_arrow()
    assert [name for name in table.column_names if name.startswith("parent")] == ["parent_0", "parent_1"]
    for res in (0, 1):
        expected = [int(h3.cell_to_parent(f"{cell:x}", res), 16) for cell in table["cell"].to_pylist()]
        assert table[f"parent_{res}"].to_pylist() == expected


def test_a_table_says_what_made_it_and_how_to_read_a_percentile(folder, atlas):
    told = json.loads(opened(folder, 2).schema.metadata[b"satclip_index"])
    assert told["encoder"]["sha256"] == atlas.manifest.encoder["sha256"]
    assert told["atlas_sha256"] == atlas.manifest.sha256
    assert (told["res"], told["cells"], told["dim"], told["land_only"]) == (2, 5882, 16, False)
    found = atlas.like(NAIROBI)
    levels = np.interp(found.similarity, told["similarity_quantiles"], told["similarity_levels"])
    np.testing.assert_allclose(levels * 100, found.percentile)


def test_cells_of_a_land_only_atlas_are_those_on_land(land_atlas, tmp_path):
    table = opened(land_atlas.to_lance(tmp_path / "x", res=1), 1)
    assert table.count_rows() == table.count_rows("land") == land_atlas.manifest.entry(1).count
    assert json.loads(table.schema.metadata[b"satclip_index"])["land_only"]


# What it answers.

CONDITIONS = {
    "anywhere": ("", {"ocean": True}, lambda c: np.ones(c["cell"].size, bool)),
    "land": ("land", {}, lambda c: c["land"].astype(bool)),
    "a box": (
        "lon BETWEEN -82 AND -34 AND lat BETWEEN -56 AND 13",
        {"ocean": True, "bbox": SOUTH_AMERICA},
        lambda c: in_box(c, *SOUTH_AMERICA),
    ),
    "land in a box": (
        "land AND lon BETWEEN -82 AND -34 AND lat BETWEEN -56 AND 13",
        {"bbox": SOUTH_AMERICA},
        lambda c: c["land"].astype(bool) & in_box(c, *SOUTH_AMERICA),
    ),
    "land outside a box": (
        "land AND NOT (lon BETWEEN -82 AND -34 AND lat BETWEEN -56 AND 13)",
        {"outside": "box.geojson"},
        lambda c: c["land"].astype(bool) & ~in_box(c, *SOUTH_AMERICA),
    ),
    "beyond 2,000 km": (
        "land AND acos(sin(radians(lat)) * sin(radians(-1.3)) + cos(radians(lat)) * cos(radians(-1.3)) "
        "* cos(radians(lon - 36.8))) * 6371.0088 >= 2000",
        {"exclude_within_km": 2000},
        None,
    ),
}


@pytest.fixture
def box_file(tmp_path, monkeypatch):
    west, south, east, north = SOUTH_AMERICA
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    (tmp_path / "box.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("res", [1, 2])
@pytest.mark.parametrize("name", CONDITIONS)
def test_the_same_question_under_a_filter_has_the_same_answer(folder, atlas, box_file, name, res):
    condition, options, mask = CONDITIONS[name]
    query = atlas.embedding_at(*NAIROBI, res=res)[0]
    expected = atlas.like(NAIROBI, res=res, **{"exclude_within_km": 0, "apart_km": 0} | options)
    cells, alike = ask(opened(folder, res), query, condition)
    assert cells == expected.cell.tolist()
    np.testing.assert_allclose(alike, expected.similarity, atol=1e-6)
    if mask:
        columns = stored(atlas, res)
        every = np.where(mask(columns), similarity(columns["embedding"], query), -2)
        assert cells == columns["cell"][np.lexsort((np.arange(every.size), -every))[:10]].tolist()


def test_a_mean_of_two_places_is_not_rounded_to_half_precision(folder, atlas):
    mean = atlas.embedding_at(*np.transpose([NAIROBI, LIMA])).mean(axis=0)
    expected = atlas.like([NAIROBI, LIMA], k=100, exclude_within_km=0, apart_km=0)
    cells, alike = ask(opened(folder, 2), mean / np.linalg.norm(mean), "land", k=100)
    np.testing.assert_allclose(alike, expected.similarity, atol=1e-6)
    assert set(cells) == set(expected.cell.tolist())


def test_a_search_goes_through_the_vector_index_and_the_filter_through_its_own(folder, atlas):
    table = opened(folder, 2)
    assert {index.columns[0]: index.index_type for index in table.list_indices()} == {
        "embedding": "IvfRq",
        "cell": "BTree",
        "lon": "BTree",
        "lat": "BTree",
        "land": "Bitmap",
        "parent_0": "Bitmap",
        "parent_1": "Bitmap",
    }
    query = atlas.embedding_at(*NAIROBI)[0]
    for condition in ("land", "lon < 5", "lat < 5", f"parent_1 = {0x811F3FFFFFFFFFF}", "cell < 590000000000000000"):
        plan = search(table, query, condition).explain_plan(verbose=True)
        assert "ANNSubIndex" in plan
        assert "ScalarIndexQuery" in plan
        assert "KNNVectorDistance" in plan, "the candidates are ranked by the stored vectors"


def test_descendants_of_a_cell_are_a_filter(folder, atlas):
    parent = all_cells(1)[100]
    cells, _ = ask(opened(folder, 2), atlas.embedding_at(*NAIROBI)[0], f"parent_1 = {parent}")
    import h3

    assert set(cells) == {int(child, 16) for child in h3.cell_to_children(f"{parent:x}", 2)}


def test_an_encoder_whose_dimensions_are_no_multiple_of_eight_is_searched_as_well(tmp_path):
    odd = si.build_atlas(tmp_path / "atlas", encoder=make_encoder(dim=7), res=[0, 1], device="cpu")
    where = odd.to_lance(tmp_path / "odd.lance")
    for res in (0, 1):
        expected = odd.like(NAIROBI, res=res, exclude_within_km=0, apart_km=0)
        cells, alike = ask(opened(where, res), odd.embedding_at(*NAIROBI, res=res)[0], "land")
        assert cells == expected.cell.tolist()
        np.testing.assert_allclose(alike, expected.similarity, atol=1e-6)


# The folder itself.


def test_one_resolution_can_be_taken_alone(atlas, tmp_path):
    calls = []
    where = atlas.to_lance(tmp_path / "one", res=1, progress=lambda done, total: calls.append((done, total)))
    assert where == str(tmp_path / "one")
    assert calls[-1] == (842, 842)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["cells_1.lance"]


def test_tables_that_are_there_are_replaced_only_if_told_to(atlas, tmp_path):
    where = atlas.to_lance(tmp_path / "x", res=1)
    with pytest.raises(AtlasExistsError, match=r"cells_1.*--force"):
        atlas.to_lance(where, res=2)
    assert opened(where, 1).count_rows() == 842
    atlas.to_lance(where, res=2, force=True)
    assert lancedb.connect(where).list_tables().tables == ["cells_2"]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_file_system_without_exchange_is_enough(atlas, tmp_path, monkeypatch):
    monkeypatch.setattr("satclip_index.export.lancedb_tables.exchange", lambda path, other: False)
    where = atlas.to_lance(tmp_path / "x", res=1)
    atlas.to_lance(where, res=2, force=True)
    assert opened(where, 2).count_rows() == 5882
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_not_ours_is_left_alone(atlas, tmp_path, force):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    lancedb.connect(tmp_path / "mine").create_table("theirs", pa.table({"a": [1]}))
    for name in ("file", "mine"):
        with pytest.raises(AtlasExistsError, match="is not replaced"):
            atlas.to_lance(tmp_path / name, force=force)
    with pytest.raises(AtlasExistsError, match="is not replaced"):
        atlas.to_lance(atlas.path, force=force)
    assert (tmp_path / "file").read_text() == "mine"
    assert opened_names(tmp_path / "mine") == ["theirs"]


def opened_names(folder):
    return lancedb.connect(folder).list_tables().tables


def test_an_empty_folder_and_a_link_to_one_can_be_filled(atlas, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    atlas.to_lance(tmp_path / "link", res=1)
    assert opened(tmp_path / "empty", 1).count_rows() == 842
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("wrong", [KeyboardInterrupt, CorruptAtlasError("a file is damaged")])
def test_what_goes_wrong_on_the_way_leaves_the_old_tables_alone(atlas, tmp_path, wrong):
    where = atlas.to_lance(tmp_path / "x", res=1)

    def stop(done, total):
        raise wrong

    with pytest.raises(wrong if isinstance(wrong, type) else CorruptAtlasError):
        atlas.to_lance(where, force=True, progress=stop)
    assert opened(where, 1).count_rows() == 842
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("name", ["file/x", "", "..", "a\0b", "x" * 300, "/proc/x.lance"])
def test_a_place_that_cannot_be_written_is_named_in_one_line(atlas, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as raised:
        atlas.to_lance(name, res=1)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "name", ["it's.lance", "a b*c?", "x%20y#1", "md:x", "db:x", "s3:x", ":memory:", "~x", "new/x/"]
)
def test_a_name_is_only_a_name(atlas, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = atlas.to_lance(name, res=1)
    assert where == str(tmp_path / name.rstrip("/"))
    assert opened(where, 1).count_rows() == 842


def test_a_file_url_is_that_folder(atlas, tmp_path):
    where = atlas.to_lance((tmp_path / "a b").as_uri(), res=1)
    assert where == str(tmp_path / "a b")
    assert opened(where, 1).count_rows() == 842


def test_a_resolution_that_is_not_held_is_refused(atlas, tmp_path):
    for res in (3, [1, 3]):
        with pytest.raises(ResolutionError, match="holds resolution 1, 2"):
            atlas.to_lance(tmp_path / "x", res=res)
    with pytest.raises(ResolutionError):
        atlas.to_lance(tmp_path / "x", res=[])
    assert not list(tmp_path.iterdir())


def test_without_lancedb_the_error_says_what_to_install(atlas, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'satclip-index\[lance\]'"):
        atlas.to_lance(tmp_path / "x")
    assert not list(tmp_path.iterdir())


INTERRUPTED = """
import os, signal
from satclip_cli.main import main
from satclip_index import Atlas
signal.signal(signal.SIGINT, signal.default_int_handler)
write = Atlas.to_lance
def interrupted(*arguments, progress=None, **options):
    def interrupt(done, total):
        if done == 842:
            os.kill(os.getpid(), signal.SIGINT)
    return write(*arguments, progress=interrupt, **options)
Atlas.to_lance = interrupted
main()
"""


def test_ctrl_c_leaves_nothing(atlas, tmp_path, run_python):
    done = run_python(INTERRUPTED, "export", "lance", tmp_path / "x", "--atlas", atlas.path)
    assert done.returncode != 0, done.stderr
    assert "Wrote" not in done.stderr
    assert not list(tmp_path.iterdir())


# At a URL.


@pytest.mark.parametrize("url", ["db://planet", "http://example.org/x", "memory://", "s3://", "file://there/x"])
def test_a_url_of_another_kind_is_refused(atlas, url):
    with pytest.raises(OutputError, match="s3://"):
        atlas.to_lance(url)


@pytest.fixture
def bucket(monkeypatch):
    """An S3 service of this machine with one bucket, by the environment variables that everybody reads."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    said = {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "REGION": "us-east-1"}
    for name, value in (said | {"ALLOW_HTTP": "true", "DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="planet")
    yield "s3://planet"
    server.stop()


def test_tables_in_a_bucket_answer_as_those_in_a_folder_do(atlas, bucket):
    url = atlas.to_lance(f"{bucket}/atlas", res=1)
    assert url == "s3://planet/atlas"
    expected = atlas.like(NAIROBI, res=1, exclude_within_km=0, apart_km=0)
    cells, _ = ask(opened(url, 1), atlas.embedding_at(*NAIROBI, res=1)[0], "land")
    assert cells == expected.cell.tolist()
    with pytest.raises(AtlasExistsError, match="--force"):
        atlas.to_lance(url, res=2)
    before = opened(url, 1)
    atlas.to_lance(url, res=[1], force=True)
    assert before.count_rows() == opened(url, 1).count_rows() == 842
    atlas.to_lance(url, res=2, force=True)
    assert opened_names(url) == ["cells_2"]


def test_a_bucket_that_is_not_there_is_named_in_one_line(atlas, bucket):
    with pytest.raises(OutputError, match="s3://nowhere/x") as raised:
        atlas.to_lance("s3://nowhere/x", res=1)
    assert "\n" not in str(raised.value)
