import numpy as np
import pytest

from satclip_index.builder._segments import Segments, write_segment
from satclip_index.encoder.location_encoder import unit_half
from satclip_index.errors import CorruptAtlasError
from satclip_index.geo import grid, sphere
from satclip_index.search.tree import Rows, Tree, deepest_level, make_nodes

from ..oracles import make_encoder
from .cases import CASES


def angle(a, b):
    """Return the angle between unit vectors, by the chord, which keeps its digits where an arc cosine does not."""
    return 2 * np.arcsin(np.minimum(np.linalg.norm(a - b, axis=1) / 2, 1))


@pytest.mark.parametrize("name", CASES)
def test_every_row_is_inside_the_ball_and_the_cap_of_each_ancestor(cases, name):
    tree, cells, embedding = cases(name).tree, cases(name).cells, cases(name).embedding
    unit = embedding.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    point = sphere.unit_vectors(*grid.cell_centers(cells))
    nodes = tree.nodes
    assert tree.levels.size == deepest_level(CASES[name][0]) + 2
    for res, (first, last) in enumerate(zip(tree.levels[:-1], tree.levels[1:], strict=True)):
        some = slice(first, last)
        starts = tree.starts(res)
        assert starts[0] == 0
        assert starts[-1] == cells.size
        node = np.repeat(np.arange(first, last), np.diff(starts))
        parents = grid.ancestors(cells, res)
        assert (np.diff(node) == (np.diff(parents.astype(np.int64)) != 0)).all()
        centroid = nodes.centroid.astype(np.float64) * nodes.scale[:, None]
        np.testing.assert_allclose(np.linalg.norm(centroid[some], axis=1), 1, atol=1e-12)
        assert (angle(unit, centroid[node]) <= nodes.radius[node]).all()
        assert (angle(point, nodes.point[node]) <= nodes.reach[node]).all()
        np.testing.assert_array_equal(nodes.land[some], np.maximum.reduceat(tree.rows.land, starts[:-1]))


@pytest.mark.parametrize("name", CASES)
def test_children_share_their_parents_rows_out(cases, name):
    tree = cases(name).tree
    leaves = tree.levels[-2]
    for node, ((start, stop), (first, last)) in enumerate(zip(tree.nodes.rows, tree.nodes.children, strict=True)):
        if node >= leaves:
            assert first == last == 0
            assert stop - start <= 7
            continue
        rows = tree.nodes.rows[first:last]
        assert rows[0, 0] == start
        assert rows[-1, 1] == stop
        np.testing.assert_array_equal(rows[1:, 0], rows[:-1, 1])


def test_a_tree_of_shards_is_the_tree_of_the_whole(tmp_path):
    cells = grid.cells_at(3)
    lon, lat = grid.cell_centers(cells)
    embedding, _ = unit_half(make_encoder(1).encode(lon, lat))
    land = np.random.default_rng(0).random(cells.size) < 0.3
    base = grid.ancestors(cells, 0)
    thirds = (base < base[10_000], (base >= base[10_000]) & (base < base[30_000]), base >= base[30_000])

    def tree_of(name, shards):
        segments = [tmp_path / f"{name}{number}" for number in range(len(shards))]
        for path, some in zip(segments, shards, strict=True):
            write_segment(path, 3, cells[some], embedding[some], lon[some], lat[some], land[some])
        Segments(segments, 3, 1).write_tree(tmp_path / name)
        return Tree.open(tmp_path / name)

    one, other = tree_of("whole", [slice(None)]), tree_of("parts", thirds)
    for group in ("rows", "nodes"):
        for name in type(getattr(one, group)).__slots__:
            np.testing.assert_array_equal(
                getattr(getattr(one, group), name), getattr(getattr(other, group), name), err_msg=name
            )
    np.testing.assert_array_equal(one.levels, other.levels)
    assert one.norm_slack == other.norm_slack


@pytest.mark.parametrize("damage", ["empty", "text", "short", "no header", "lacking"])
def test_a_damaged_tree_is_a_corrupt_atlas(cases, tmp_path, damage):
    from safetensors.numpy import save_file

    path = tmp_path / "tree.safetensors"
    whole = cases("smooth, res 1").tree_file.read_bytes()
    if damage == "lacking":
        save_file({"levels": np.zeros(2, np.int64)}, path)
    else:
        path.write_bytes({"empty": b"", "text": b"hello, tree", "short": whole[:-100], "no header": whole[8:]}[damage])
    with pytest.raises(CorruptAtlasError, match=r"tree\.safetensors"):
        Tree.open(path)


def test_vectors_that_cancel_out_still_have_a_ball():
    cells = grid.descendants(grid.cells_at(0)[:1], 2)[:2]
    rows = Rows(cells, sphere.unit_vectors(*grid.cell_centers(cells)), np.zeros(2, np.uint8))
    vectors = np.array([[1, 0, 0], [-1, 0, 0]], dtype=np.float32)
    nodes = make_nodes(rows, vectors, np.ones(2), np.zeros((1, 3)), np.array([0, 2]))
    assert nodes.radius[0] >= np.pi - 1e-5
