import hashlib
import json

import numpy as np
import pytest

from satclip_index import open_atlas
from satclip_index.errors import AtlasNotFoundError, CorruptAtlasError, ResolutionError, SatclipIndexError
from satclip_index.storage.manifest import Manifest

from ..oracles import stored


def edit(root, change):
    path = root / "manifest.json"
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))


def refused(root, match=None):
    with pytest.raises(CorruptAtlasError, match=match) as caught:
        open_atlas(root).like((0, 0))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_manifest_names_every_file_with_its_size_and_digest(atlas):
    described = json.loads((atlas.path / "manifest.json").read_text())
    on_disk = {p.relative_to(atlas.path).as_posix(): p for p in atlas.path.rglob("*") if p.is_file()}
    del on_disk["manifest.json"]
    assert {entry["path"] for entry in described["files"]} == set(on_disk)
    for entry in described["files"]:
        data = on_disk[entry["path"]].read_bytes()
        assert entry["size"] == len(data)
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()


def test_the_manifest_says_what_made_the_atlas(atlas, encoder, encoder_file):
    manifest = Manifest.read(atlas.path)
    assert manifest.format_version == 2
    assert manifest.dim == 16
    assert manifest.encoder["sha256"] == encoder.sha256
    assert manifest.encoder["origin"] == {"file": encoder_file.name}
    assert manifest.encoder["hyperparameters"]["legendre_polys"] == 6
    assert {"numpy", "torch", "h3", "pyarrow"} <= manifest.libraries.keys()
    for res, entry in manifest.resolutions.items():
        columns = stored(atlas, res)
        assert entry.count == 2 + 120 * 7**res == columns["cell"].size
        assert entry.land_count == columns["land"].sum()


def test_reading_gives_what_was_written(atlas, tmp_path):
    manifest = Manifest.read(atlas.path)
    (tmp_path / "other").mkdir()
    for entry in manifest.files:
        (tmp_path / "other" / entry.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "other" / entry.path).write_bytes((atlas.path / entry.path).read_bytes())
    manifest.write(tmp_path / "other")
    assert Manifest.read(tmp_path / "other") == manifest


@pytest.mark.parametrize("res", [1, 2])
def test_percentiles_are_shares_of_random_land_pairs(atlas, res):
    entry = atlas.manifest.entry(res)
    columns = stored(atlas, res)
    land = columns["embedding"][columns["land"]].astype(np.float64)
    pairs = (land @ land.T)[np.triu_indices(len(land), k=1)]
    for similarity in (-0.5, 0.0, 0.3, 0.9, 0.99):
        found = entry.percentile(np.float32([similarity]))[0]
        assert found == pytest.approx(100 * (pairs < similarity).mean(), abs=2.0)
    grid = entry.percentile(np.linspace(-1, 1, 999, dtype=np.float32))
    assert (np.diff(grid) >= 0).all()
    assert grid[0] >= 0
    assert grid[-1] == 100


def test_a_folder_without_a_manifest_says_how_to_build(tmp_path):
    with pytest.raises(AtlasNotFoundError, match="satclip-index build --atlas") as caught:
        open_atlas(tmp_path / "nothing")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_resolution_that_is_not_held_is_named_with_those_that_are(atlas):
    with pytest.raises(ResolutionError, match=r"holds resolution 1, 2, not 7.*--res 7"):
        atlas.like((0, 0), res=7)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"x"', "{}", "\ufeff{}", '{"format_version": 2}', "[" * 99_999, "\udcff"],
)
def test_a_manifest_that_is_no_json_object_of_ours_is_refused(atlas, copy_of, text):
    root = copy_of(atlas)
    (root / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "--force" in refused(root, r"manifest\.json")


@pytest.mark.parametrize("version", [0, 1, 99, "2", None, "new"])
def test_another_format_version_is_refused(atlas, copy_of, version):
    root = copy_of(atlas)
    edit(root, lambda described: described.update(format_version=version))
    refused(root, "format version")


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/hostname",
        "res=2/../../x",
        "\\\\host\\share",
        "C:\\x",
        "res=1/cells/../../../../etc/hostname",
        "..",
    ],
)
def test_a_path_out_of_the_atlas_is_refused(atlas, copy_of, path):
    root = copy_of(atlas)
    (root.parent / "x").write_text("")
    edit(root, lambda described: described["files"].append({"path": path, "size": 0, "sha256": ""}))
    refused(root, "outside of the atlas")


@pytest.mark.parametrize("name", ["encoder.safetensors", "res=2/index.faiss", "res=2/tree.safetensors", "parquet"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "longer"])
def test_a_file_that_is_not_as_promised_is_named(atlas, copy_of, name, damage):
    root = copy_of(atlas)
    path = next((root / "res=2/cells").iterdir()) if name == "parquet" else root / name
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[:-1] if damage == "truncated" else data + b"\0")
    assert path.name in refused(root, "missing" if damage == "missing" else "bytes; expected")


@pytest.mark.parametrize("name", ["res=2/index.faiss", "res=2/tree.safetensors"])
def test_bytes_lost_behind_a_manifest_that_agrees_are_found_when_opened(atlas, copy_of, name):
    root = copy_of(atlas)
    path = root / name
    data = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(data)

    def agree(described):
        for entry in described["files"]:
            if entry["path"] == path.relative_to(root).as_posix():
                entry["size"] = len(data)

    edit(root, agree)
    refused(root, path.name)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("files"),
        lambda d: d.pop("encoder"),
        lambda d: d.pop("dim"),
        lambda d: d.update(files=3),
        lambda d: d.update(files=[3]),
        lambda d: d.update(surprise=1),
        lambda d: d.update(resolutions={}),
        lambda d: d.update(resolutions=[]),
        lambda d: d.update(resolutions={"x": d["resolutions"]["1"]}),
        lambda d: d.update(dim="16"),
        lambda d: d.update(dim=-1),
        lambda d: d.update(dim=17),
        lambda d: d.update(dim=16.0),
        lambda d: d.update(encoder={}),
        lambda d: d.update(encoder=[]),
        lambda d: d["files"][0].pop("size"),
        lambda d: d["files"][0].update(path=3),
        lambda d: d["files"][0].update(path="a\0b"),
        lambda d: d["resolutions"]["2"].pop("count"),
        lambda d: d["resolutions"]["2"].update(count=3),
        lambda d: d["resolutions"]["2"].update(count="5882"),
        lambda d: d["resolutions"]["2"].update(list_res=9),
        lambda d: d["resolutions"]["2"].update(list_res="0"),
        lambda d: d["resolutions"]["2"].update(codes_offset=0),
        lambda d: d["resolutions"]["2"].update(codes_offset=-8),
        lambda d: d["resolutions"]["2"].update(codes_offset=10**12),
        lambda d: d["resolutions"]["2"].update(codes_offset="x"),
        lambda d: d["resolutions"]["2"].update(similarity_quantiles=[0.1]),
        lambda d: d["resolutions"]["2"].update(similarity_quantiles=[], similarity_levels=[]),
        lambda d: d["resolutions"]["2"].update(similarity_levels="x"),
        lambda d: d["resolutions"].update({"3": d["resolutions"]["2"]}),
        lambda d: d.update(files=[f for f in d["files"] if "cells" not in f["path"]]),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_in_one_line(atlas, copy_of, change):
    root = copy_of(atlas)
    edit(root, change)
    refused(root)


def test_every_refusal_is_one_of_ours(atlas, copy_of):
    root = copy_of(atlas)
    (root / "encoder.safetensors").write_bytes(bytes((root / "encoder.safetensors").stat().st_size))
    with pytest.raises(SatclipIndexError, match=r"encoder\.safetensors"):
        _ = open_atlas(root).encoder
