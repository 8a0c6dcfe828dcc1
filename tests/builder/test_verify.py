import json
import random

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import satclip_index as si
from satclip_index import verify_atlas
from satclip_index.errors import AtlasNotFoundError
from satclip_index.storage.manifest import FileEntry, Manifest

from ..oracles import make_encoder
from .test_build import build

KINDS = [
    "manifest.json",
    "encoder.safetensors",
    "components.safetensors",
    "res=2/cells/part-00000.parquet",
    "res=2/index.faiss",
    "res=2/tree.safetensors",
]


def named(found):
    return [file for file, _ in found.findings]


def flip(path, position, mask):
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


def sign(root):
    """Make the manifest agree with files that were changed."""
    manifest = Manifest.read(root, check_files=False)
    entries = tuple(FileEntry.of(root, root / entry.path) for entry in manifest.files)
    object.__setattr__(manifest, "files", entries)
    manifest.write(root)


@pytest.mark.parametrize("options", [{}, {"land_only": True}, {"encoder": make_encoder(dim=1)}])
def test_a_new_atlas_is_sound(tmp_path, encoder, options):
    made = build(tmp_path / "atlas", **{"encoder": encoder, "res": [0, 1, 2]} | options)
    found = verify_atlas(made.path)
    assert found.sound, found.findings
    assert list(found.checks) == ["manifest", "sizes", "SHA-256", "res 0", "res 1", "res 2"]


def test_several_shards_are_sound(tmp_path):
    made = build(tmp_path / "atlas", make_encoder(L=2, capacity=4, dim=4), res=4)
    seen = []
    assert verify_atlas(made.path, progress=lambda *pair: seen.append(pair)).findings == ()
    assert seen[-1][0] == seen[-1][1] > sum(file.size for file in made.manifest.files)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("name", KINDS)
def test_one_flipped_byte_is_found_and_named(atlas, copy_of, name):
    root = copy_of(atlas)
    position = random.Random(name).randrange((root / name).stat().st_size)
    flip(root / name, position, 1 + position % 255)
    assert named(verify_atlas(root)) == [name]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_any_flipped_byte_is_found_and_named(atlas, copy_of, name):
    root, rng = copy_of(atlas), random.Random(name)
    size = (root / name).stat().st_size
    for position in [0, size - 1, *rng.sample(range(size), 60)]:
        mask = rng.randrange(1, 256)
        flip(root / name, position, mask)
        assert named(verify_atlas(root)) == [name], (position, mask)
        flip(root / name, position, mask)
    assert verify_atlas(root, quick=True).sound


def test_every_byte_of_the_manifest_counts(atlas, copy_of):
    root = copy_of(atlas)
    text = (root / "manifest.json").read_bytes()
    for position in range(0, len(text), 1 + len(text) // 400):
        flip(root / "manifest.json", position, 1 << position % 8)
        assert named(verify_atlas(root, quick=True)) == ["manifest.json"], position
        (root / "manifest.json").write_bytes(text)


@pytest.mark.parametrize("name", KINDS[1:])
@pytest.mark.parametrize("damage", ["gone", "shorter", "longer"])
def test_a_quick_look_finds_what_has_another_size(atlas, copy_of, name, damage):
    root = copy_of(atlas)
    data = (root / name).read_bytes()
    (root / name).unlink()
    if damage != "gone":
        (root / name).write_bytes(data[:-1] if damage == "shorter" else data + b"x")
    assert named(verify_atlas(root, quick=True)) == [name]
    assert named(verify_atlas(root)) == [name]


def test_a_quick_look_does_not_read(atlas, copy_of):
    root = copy_of(atlas)
    flip(root / "res=2/index.faiss", 9000, 1)
    assert verify_atlas(root, quick=True).sound


def test_every_damaged_file_is_named(atlas, copy_of):
    root = copy_of(atlas)
    for name in KINDS[1:]:
        flip(root / name, 1000, 1)
    assert sorted(named(verify_atlas(root))) == sorted(KINDS[1:])


def test_a_file_that_nobody_promised_is_named(atlas, copy_of):
    root = copy_of(atlas)
    (root / "res=1" / "cells" / "part-00009.parquet").write_bytes(b"x")
    (root / "notes.txt").write_text("mine")
    assert named(verify_atlas(root)) == ["res=1/cells/part-00009.parquet"]


def test_no_atlas_is_not_a_finding(tmp_path):
    with pytest.raises(AtlasNotFoundError):
        verify_atlas(tmp_path / "nothing")


def tree_change(name, change):
    def apply(root):
        path = root / "res=2" / "tree.safetensors"
        tensors = {key: values.copy() for key, values in load_file(path).items()}
        change(tensors[name])
        save_file(tensors, path)

    return apply


def less(values):
    values[values.argmax()] *= 0.99


def other(values):
    values[7] = values[8]


def swapped(values):
    values[[7, 8]] = values[[8, 7]]


def parquet_change(change):
    def apply(root):
        import pyarrow.parquet as pq

        path = root / "res=2/cells/part-00000.parquet"
        pq.write_table(change(pq.read_table(path, partitioning=None)), path)

    return apply


def with_column(name, change):
    def apply(table):
        import pyarrow as pa

        values = table[name].combine_chunks()
        numbers = (values.flatten() if name == "embedding" else values).to_numpy(zero_copy_only=False).copy()
        change(numbers)
        new = pa.array(numbers, values.type.value_type if name == "embedding" else values.type)
        if name == "embedding":
            new = pa.FixedSizeListArray.from_arrays(new, values.type.list_size)
        return table.set_column(table.column_names.index(name), name, new)

    return parquet_change(apply)


def faiss_change(root):
    import faiss

    index = faiss.read_index(str(root / "res=2/index.faiss"))
    lists = index.invlists
    faiss.rev_swig_ptr(lists.get_ids(3), lists.list_size(3))[[0, 1]] = 5, 4
    faiss.write_index(index, str(root / "res=2/index.faiss"))


def another_encoder(root):
    make_encoder(9).save(root / "encoder.safetensors")


def negated(values):
    values[16 * 50 : 16 * 51] *= -1


WRONG = {
    "a ball too small": (tree_change("nodes.radius", less), "tree"),
    "a cap too small": (tree_change("nodes.reach", less), "tree"),
    "another centroid": (tree_change("nodes.centroid", other), "tree"),
    "another point": (tree_change("rows.point", other), "tree"),
    "a land flag": (tree_change("nodes.land", lambda values: np.logical_not(values, out=values)), "tree"),
    "other children": (tree_change("nodes.children", other), "tree"),
    "other rows": (tree_change("nodes.rows", swapped), "tree"),
    "no slack": (tree_change("norm_slack", lambda values: values.fill(0)), "tree"),
    "an id": (faiss_change, "index"),
    "cells swapped": (with_column("cell", swapped), "parquet"),
    "a cell twice": (with_column("cell", other), "parquet"),
    "a lon": (with_column("lon", other), "parquet"),
    "a norm": (with_column("norm", lambda values: values.put(3, np.nan)), "parquet"),
    "an embedding": (with_column("embedding", negated), "index"),
    "a length": (with_column("embedding", lambda values: values.put(range(16), 0.5)), "parquet"),
    "columns": (parquet_change(lambda table: table.drop_columns(["norm"])), "parquet"),
    "rows": (parquet_change(lambda table: table.slice(0, 5000)), "cells"),
    "the encoder": (another_encoder, "encoder"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_was_written_wrongly_is_found_behind_digests_that_agree(atlas, copy_of, name):
    change, file = WRONG[name]
    root = copy_of(atlas)
    change(root)
    sign(root)
    found = verify_atlas(root)
    assert found.findings
    assert any(file in "".join(finding) for finding in found.findings), found.findings


def test_the_command_ends_well_only_where_all_is_well(atlas, copy_of, cli):
    done = cli("verify", atlas=atlas)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sizes" in done.stdout
    root = copy_of(atlas)
    flip(root / "res=1/index.faiss", 500, 1)
    flip(root / "encoder.safetensors", 500, 1)
    done = cli("verify", "--format", "json", atlas=root)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert "encoder.safetensors" in lines[0]
    assert "res=1/index.faiss" in lines[1]
    assert "--force" in lines[2]
    assert len(json.loads(done.stdout)["findings"]) == 2
    assert cli("verify", "--quick", "--quiet", atlas=root).returncode == 0


def test_an_atlas_of_an_unknown_version_is_refused_with_the_remedy(atlas, copy_of):
    root = copy_of(atlas)
    text = (root / "manifest.json").read_text()
    (root / "manifest.json").write_text(text.replace('"format_version": 2', '"format_version": 9'))
    with pytest.raises(si.SatclipIndexError, match=r"format version 9; this program reads 2.*--force"):
        si.open_atlas(root)
    assert named(verify_atlas(root)) == ["manifest.json"]
