"""Whether the files of a resolution agree: Parquet, index, tree, manifest, and the encoder that made them."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..encoder.location_encoder import unit_half
from ..errors import MissingExtraError
from ..geo import grid, sphere
from ..search.faiss_index import index_header
from ..search.index import Index
from ..search.tree import Tree, deepest_level, run_starts
from ..storage.cell_files import read_shard
from ..storage.manifest import Manifest
from ._assemble import similarity_quantiles

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

Finding = tuple[str, str]
"""A file, below the atlas, and what is wrong with it."""

_SAMPLE = 256  # rows that are encoded again
_LEAST_COSINE = 1 - 2e-3  # with what is stored, on whatever machine they are encoded again
_MOST_SLACK = 1e-3  # of the length of a vector whose values were rounded to half precision
_ANGLE_ERROR = 1e-9  # of an angle computed in another way than the tree's


def disagreements(
    root: Path, manifest: Manifest, res: int, encoder: "Encoder", seen: Callable[[str], None]
) -> Iterator[Finding]:
    """Yield what is wrong with a resolution whose files are the bytes that were written.

    Parameters
    ----------
    root : Path
        Folder of the atlas.
    manifest : Manifest
    res : int
    encoder : Encoder
        That of the atlas.
    seen : function
        Told of each Parquet file that has been compared.

    Raises
    ------
    CorruptAtlasError
        If a file cannot be read at all.
    """
    folder, entry = f"res={res}", manifest.entry(res)
    index = Index.of_folder(root / folder, entry, manifest.dim)
    tree_file, index_file = f"{folder}/tree.safetensors", f"{folder}/index.faiss"
    if structure := list(_tree_structure(index.tree, res)):
        yield from ((tree_file, what) for what in structure)
        return
    yield from ((index_file, what) for what in _header(root / index_file, index, entry.list_res, entry.codes_offset))
    first, land_count, last_cell = 0, 0, np.uint64(0)
    for name in manifest.cell_files(res):
        columns, described = read_shard(root / name, manifest.dim)
        rows = slice(first, first + columns["cell"].size)
        if described.get("model_sha256") != manifest.encoder["sha256"] or described.get("h3_resolution") != res:
            yield name, "says in its footer that another encoder made it, or another resolution"
        yield from ((name, what) for what in _columns(columns, res, last_cell, manifest.land_only))
        if rows.stop > len(index):
            break
        yield from ((tree_file, f"{what}, of {name}") for what in _tree_rows(columns, index.tree, rows))
        yield from ((index_file, f"{what}, of {name}") for what in _index_rows(columns, index, rows))
        index.vectors.release_pages()
        first, land_count, last_cell = rows.stop, land_count + int(columns["land"].sum()), columns["cell"][-1]
        seen(name)
    counts = (entry.count, entry.land_count)
    if (first, land_count) != counts or not (manifest.land_only or first == grid.cell_count(res)):
        yield (
            f"{folder}/cells",
            f"holds {first} cells, {land_count} on land; the manifest says {counts[0]}, {counts[1]}",
        )
        return
    told = similarity_quantiles(index.vectors, np.flatnonzero(index.tree.rows.land))
    if not np.allclose(told, entry.similarity_quantiles, rtol=0, atol=1e-5):
        yield "manifest.json", f"says of resolution {res} other quantiles of similarity than its vectors have"
    yield from ((index_file, what) for what in _encoded_again(index, encoder))


def _columns(columns: dict[str, NDArray[Any]], res: int, last: np.uint64, land_only: bool) -> Iterator[str]:
    """Yield what is wrong with a shard by itself."""
    cells = columns["cell"]
    if not cells.size or not grid.are_cells(cells).all() or (grid.cell_res(cells) != res).any():
        yield f"has no cells, or some that are not of resolution {res}"
        return
    if cells[0] <= last or (cells[1:] <= cells[:-1]).any():
        yield "has cells that do not ascend, or that are there twice"
    lon, lat = grid.cell_centers(cells)
    if not (np.allclose(columns["lon"], lon, 0, 1e-9) and np.allclose(columns["lat"], lat, 0, 1e-9)):
        yield "has lon and lat that are not the centres of its cells"
    if land_only and not columns["land"].all():
        yield "has cells at sea, in an atlas of land only"
    if not ((columns["norm"] > 0) & np.isfinite(columns["norm"])).all():
        yield "has a norm that is not a positive number"
    length = np.linalg.norm(columns["embedding"].astype(np.float64), axis=1)
    if (odd := np.flatnonzero(~(np.abs(length - 1) <= _MOST_SLACK))).size:
        yield f"has an embedding whose length is not 1, at row {odd[0]}"


def _tree_structure(tree: Tree, res: int) -> Iterator[str]:
    """Yield what is wrong with the runs of rows and of children that the nodes are."""
    cells, nodes, levels = tree.rows.cell, tree.nodes, tree.levels
    if levels.size != deepest_level(res) + 2 or levels[-1] != len(nodes):
        yield f"has {levels.size - 1} levels over {len(nodes)} nodes"
        return
    for level, (first, last) in enumerate(pairwise(levels)):
        starts = run_starts(grid.ancestors(cells, level))
        runs = np.stack([starts[:-1], starts[1:]], axis=1)
        if not np.array_equal(nodes.rows[first:last], runs):
            yield f"has nodes of resolution {level} that are not its ancestors' rows"
        elif level < deepest_level(res):
            below = nodes.rows[last : levels[level + 2]]
            children = last + np.stack([np.searchsorted(below[:, 0], runs[:, i]) for i in (0, 1)], axis=1)
            if not np.array_equal(nodes.children[first:last], children):
                yield f"has nodes of resolution {level} with other children than theirs"


def _tree_rows(columns: dict[str, NDArray[Any]], tree: Tree, rows: slice) -> Iterator[str]:
    """Yield what a tree has wrong about the rows of a shard, and which of its bounds do not hold there."""
    from ..search import tree_kernels

    held, nodes = tree.rows, tree.nodes
    point = sphere.unit_vectors(columns["lon"], columns["lat"])
    if not (np.array_equal(held.cell[rows], columns["cell"]) and np.array_equal(held.land[rows], columns["land"])):
        yield "has other cells or land than the rows"
        return
    if not np.allclose(held.point[rows], point, 0, 1e-12):
        yield "has other places than the rows"
    vectors = np.ascontiguousarray(columns["embedding"])
    length = tree_kernels.lengths(vectors)
    if not (np.abs(length - 1) <= tree.norm_slack + 1e-12).all():
        yield "understates how far lengths are from 1, in the rows"
    for level, first in enumerate(tree.levels[:-1]):
        bounds = nodes.rows[first : tree.levels[level + 1]]
        begin, end = np.searchsorted(bounds[:, 1], rows.start, "right"), np.searchsorted(bounds[:, 0], rows.stop)
        some = slice(first + begin, first + end)
        start = np.append(np.maximum(nodes.rows[some, 0], rows.start), rows.stop) - rows.start
        whole = (nodes.rows[some, 0] >= rows.start) & (nodes.rows[some, 1] <= rows.stop)
        directions = nodes.centroid[some].astype(np.float64) * nodes.scale[some, None]
        angle = np.arccos(np.clip(tree_kernels.least_cosines(vectors, length, directions, start), -1, 1))
        apart = np.linalg.norm(point - np.repeat(nodes.point[some], np.diff(start), axis=0), axis=1)
        reach = 2 * np.arcsin(np.minimum(np.maximum.reduceat(apart, start[:-1]) / 2, 1))
        land = np.maximum.reduceat(columns["land"].astype(np.uint8), start[:-1])
        if not (angle <= nodes.radius[some] + _ANGLE_ERROR).all():
            yield f"has a ball of resolution {level} that leaves an embedding out, in the rows"
        if not (reach <= nodes.reach[some] + _ANGLE_ERROR).all():
            yield f"has a cap of resolution {level} that leaves a place out, in the rows"
        if not np.array_equal(nodes.land[some][whole], land[whole]) or (nodes.land[some] < land).any():
            yield f"has nodes of resolution {level} that are land where their rows are not, or the other way"


def _index_rows(columns: dict[str, NDArray[Any]], index: Index, rows: slice) -> Iterator[str]:
    """Yield what an index has wrong about the rows of a shard."""
    wanted = np.arange(rows.start, rows.stop)
    if not np.array_equal(index.vectors.of_rows(wanted), columns["embedding"]):
        yield "has other vectors than the rows"
    if not np.array_equal(index.vectors.ids_of_rows(wanted), wanted):
        yield "has ids that are not the rows"


def _header(path: Path, index: Index, list_res: int, codes_offset: int) -> Iterator[str]:
    """Yield what is wrong with the beginning of an index: its kind, its centroids and the sizes of its lists."""
    nodes = index.tree.nodes
    lists = slice(*index.tree.levels[list_res : list_res + 2])
    centroids = (nodes.centroid[lists] * nodes.scale[lists, None]).astype(np.float32)
    try:
        before, after = index_header(index.vectors.dim, len(index), len(centroids))
    except MissingExtraError:
        return
    expected = before + centroids.tobytes() + after + np.diff(nodes.rows[lists], axis=1).tobytes()
    with path.open("rb") as file:
        if file.read(codes_offset) != expected:
            yield "has another beginning than FAISS would write for its lists"


def _encoded_again(index: Index, encoder: "Encoder") -> Iterator[str]:
    """Yield what is wrong with a random sample of rows, encoded again."""
    rows = np.sort(np.random.default_rng(index.res).choice(len(index), min(_SAMPLE, len(index)), replace=False))
    again, _ = unit_half(encoder.encode(*grid.cell_centers(index.cells[rows])))
    cosine = np.einsum("ij,ij->i", again.astype(np.float64), index.vectors.of_rows(rows))
    if not (cosine >= _LEAST_COSINE).all():
        worst = rows[cosine.argmin()]
        yield f"has at row {worst} another vector than its encoder gives: their similarity is {cosine.min():.4f}"
