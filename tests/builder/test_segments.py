import faiss
import numpy as np
import pytest

from satclip_index.builder._segments import Segments, write_segment
from satclip_index.encoder.location_encoder import unit_half
from satclip_index.geo import grid, sphere
from satclip_index.search.tree import Tree

from ..oracles import make_encoder

RES = 3


@pytest.fixture(scope="module", params=[5, 16])
def data(request):
    """Cells of a few base cells, a pentagon among them, with holes; and where to cut them in shards."""
    cells = grid.descendants(grid.cells_at(0)[2:8], RES)
    cells = cells[np.random.default_rng(1).random(cells.size) < 0.6]
    lon, lat = grid.cell_centers(cells)
    embedding, _ = unit_half(make_encoder(dim=request.param).encode(lon, lat))
    land = np.random.default_rng(2).random(cells.size) < 0.4
    base = grid.ancestors(cells, 0)
    cuts = np.searchsorted(base, np.unique(base)[[1, 4]])
    return cells, embedding, lon, lat, land, cuts


def segments_of(folder, data, cuts, list_res):
    cells, embedding, lon, lat, land, _ = data
    paths = []
    for number, some in enumerate(np.split(np.arange(cells.size), cuts)):
        paths.append(folder / f"{number}.safetensors")
        write_segment(paths[-1], RES, cells[some], embedding[some], lon[some], lat[some], land[some])
    return Segments(paths, RES, list_res)


@pytest.mark.parametrize("list_res", [0, 1, 2])
def test_the_index_is_byte_for_byte_what_faiss_writes(data, tmp_path, list_res):
    cells, embedding, *_, cuts = data
    parts = segments_of(tmp_path, data, cuts, list_res)
    offset = parts.write_index(tmp_path / "ours")
    lists = np.unique(grid.ancestors(cells, list_res), return_inverse=True)[1].astype(np.int64)
    dim, rows = embedding.shape[1], np.arange(cells.size)
    quantizer = faiss.IndexFlatIP(dim)
    ours = faiss.read_index(str(tmp_path / "ours"))
    quantizer.add(faiss.downcast_index(ours.quantizer).reconstruct_n(0, ours.nlist))
    theirs = faiss.IndexIVFScalarQuantizer(
        quantizer, dim, ours.nlist, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    theirs.is_trained = True
    vectors = np.ascontiguousarray(embedding)
    theirs.add_core(len(rows), faiss.swig_ptr(vectors), faiss.swig_ptr(rows), faiss.swig_ptr(lists))
    faiss.write_index(theirs, str(tmp_path / "theirs"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert offset == (tmp_path / "ours").stat().st_size - len(parts) * (2 * dim + 8)


def test_the_cuts_between_shards_leave_no_trace(data, tmp_path):
    files = []
    for name, cuts in (("one", []), ("three", data[-1])):
        (tmp_path / name).mkdir()
        parts = segments_of(tmp_path / name, data, cuts, 1)
        parts.write_index(tmp_path / name / "index")
        parts.write_tree(tmp_path / name / "tree")
        files.append([(tmp_path / name / file).read_bytes() for file in ("index", "tree")])
    assert files[0] == files[1]


def test_ancestors_that_are_cut_are_merged_and_hold_every_row(data, tmp_path):
    cells, embedding, lon, lat, _, _ = data
    roots = grid.ancestors(cells, 1)
    cuts = np.flatnonzero(roots[1:] != roots[:-1]) + 1
    trees = []
    for name, at in (("whole", []), ("cut", cuts)):
        (tmp_path / name).mkdir()
        segments_of(tmp_path / name, data, at, 1).write_tree(tmp_path / name / "tree")
        trees.append(Tree.open(tmp_path / name / "tree"))
    whole, cut = trees
    np.testing.assert_array_equal(cut.levels, whole.levels)
    for name in ("rows", "children", "land"):
        np.testing.assert_array_equal(getattr(cut.nodes, name), getattr(whole.nodes, name), err_msg=name)
    below = slice(whole.levels[1], None)
    for name in ("centroid", "scale", "radius", "point", "reach"):
        np.testing.assert_array_equal(getattr(cut.nodes, name)[below], getattr(whole.nodes, name)[below], err_msg=name)
    point, merged = sphere.unit_vectors(lon, lat), cut.nodes
    for node in range(whole.levels[1]):
        rows = slice(*merged.rows[node])
        centroid = merged.centroid[node].astype(np.float64) * merged.scale[node]
        vectors = embedding[rows] / np.linalg.norm(embedding[rows].astype(np.float64), axis=1, keepdims=True)
        assert (np.arccos(np.clip(vectors @ centroid, -1, 1)) <= merged.radius[node] + 1e-7).all()
        assert (np.arccos(np.clip(point[rows] @ merged.point[node], -1, 1)) <= merged.reach[node] + 1e-7).all()
        assert merged.radius[node] < 3 * whole.nodes.radius[node] + 1e-3


def test_an_index_of_shards_within_base_cells_is_that_of_the_whole(data, tmp_path):
    roots = grid.ancestors(data[0], 1)
    files = []
    for name, cuts in (("whole", []), ("cut", np.flatnonzero(roots[1:] != roots[:-1]) + 1)):
        (tmp_path / name).mkdir()
        segments_of(tmp_path / name, data, cuts, 1).write_index(tmp_path / name / "index")
        files.append((tmp_path / name / "index").read_bytes())
    assert files[0] == files[1]
