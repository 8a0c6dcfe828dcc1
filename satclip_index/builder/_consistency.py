"""Check that the files of a resolution agree: Parquet, index, tree, manifest and encoder."""

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
"""The path of a file inside the atlas, and what is wrong with it."""

_SAMPLE = 256  # rows that are encoded again to compare
_LEAST_COSINE = 1 - 2e-3  # between stored and new embeddings; machines round differently
_MOST_SLACK = 1e-3  # in length, from rounding a unit vector to half precision
_ANGLE_ERROR = 1e-9  # radians; the tree computes angles differently


def find_inconsistencies(
    root: Path, manifest: Manifest, res: int, encoder: "Encoder", on_file: Callable[[str], None]
) -> Iterator[Finding]:
    """Yield inconsistencies between the files of a resolution, whose checksums are known to be correct.

    Parameters
    ----------
    root : Path
        Folder of the atlas.
    manifest : Manifest
    res : int
    encoder : Encoder
        The encoder of the atlas.
    on_file : function of str
        Called with the name of each Parquet file after it was checked.

    Raises
    ------
    CorruptAtlasError
        If a file cannot be read.
    """
    folder, entry = f"res={res}", manifest.entry(res)
    index = Index.of_folder(root / folder, entry, manifest.dim)
    tree_file, index_file = f"{folder}/tree.safetensors", f"{folder}/index.faiss"
    if structure := list(_check_tree_structure(index.tree, res)):
        yield from ((tree_file, problem) for problem in structure)
        return
    yield from (
        (index_file, problem)
        for problem in _check_index_header(root / index_file, index, entry.list_res, entry.codes_offset)
    )
    first, land_count, last_cell = 0, 0, np.uint64(0)
    for name in manifest.cell_files(res):
        columns, described = read_shard(root / name, manifest.dim)
        rows = slice(first, first + columns["cell"].size)
        if described.get("model_sha256") != manifest.encoder["sha256"] or described.get("h3_resolution") != res:
            yield name, "has a footer that names another encoder or resolution"
        yield from ((name, problem) for problem in _check_columns(columns, res, last_cell, manifest.land_only))
        if rows.stop > len(index):
            break
        yield from ((tree_file, f"{problem}, of {name}") for problem in _check_tree_rows(columns, index.tree, rows))
        yield from ((index_file, f"{problem}, of {name}") for problem in _check_index_rows(columns, index, rows))
        index.vectors.release_pages()
        first, land_count, last_cell = rows.stop, land_count + int(columns["land"].sum()), columns["cell"][-1]
        on_file(name)
    counts = (entry.count, entry.land_count)
    if (first, land_count) != counts or not (manifest.land_only or first == grid.cell_count(res)):
        yield (
            f"{folder}/cells",
            f"has {first} cells, {land_count} on land; the manifest has {counts[0]} and {counts[1]}",
        )
        return
    quantiles = similarity_quantiles(index.vectors, np.flatnonzero(index.tree.rows.land))
    if not np.allclose(quantiles, entry.similarity_quantiles, rtol=0, atol=1e-5):
        yield "manifest.json", f"has similarity quantiles of resolution {res} that do not match its embeddings"
    yield from ((index_file, problem) for problem in _check_sample(index, encoder))


def _check_columns(columns: dict[str, NDArray[Any]], res: int, last: np.uint64, land_only: bool) -> Iterator[str]:
    """Yield what is wrong in the columns of one shard."""
    cells = columns["cell"]
    if not cells.size or not grid.are_cells(cells).all() or (grid.cell_res(cells) != res).any():
        yield f"has no cells, or cells that are not of resolution {res}"
        return
    if cells[0] <= last or (cells[1:] <= cells[:-1]).any():
        yield "has cells that are out of order or repeated"
    lon, lat = grid.cell_centers(cells)
    if not (np.allclose(columns["lon"], lon, 0, 1e-9) and np.allclose(columns["lat"], lat, 0, 1e-9)):
        yield "has lon and lat that are not the centers of its cells"
    if land_only and not columns["land"].all():
        yield "has ocean cells, in a land-only atlas"
    if not ((columns["norm"] > 0) & np.isfinite(columns["norm"])).all():
        yield "has a norm that is not a positive number"
    length = np.linalg.norm(columns["embedding"].astype(np.float64), axis=1)
    if (odd := np.flatnonzero(~(np.abs(length - 1) <= _MOST_SLACK))).size:
        yield f"has an embedding whose length is not 1, at row {odd[0]}"


def _check_tree_structure(tree: Tree, res: int) -> Iterator[str]:
    """Yield what is wrong in the row ranges and child ranges of the nodes."""
    cells, nodes, levels = tree.rows.cell, tree.nodes, tree.levels
    if levels.size != deepest_level(res) + 2 or levels[-1] != len(nodes):
        yield f"has {levels.size - 1} levels over {len(nodes)} nodes"
        return
    for level, (first, last) in enumerate(pairwise(levels)):
        starts = run_starts(grid.ancestors(cells, level))
        runs = np.stack([starts[:-1], starts[1:]], axis=1)
        if not np.array_equal(nodes.rows[first:last], runs):
            yield f"has nodes of resolution {level} whose rows are not those of its cells"
        elif level < deepest_level(res):
            below = nodes.rows[last : levels[level + 2]]
            children = last + np.stack([np.searchsorted(below[:, 0], runs[:, i]) for i in (0, 1)], axis=1)
            if not np.array_equal(nodes.children[first:last], children):
                yield f"has nodes of resolution {level} with wrong children"


def _check_tree_rows(columns: dict[str, NDArray[Any]], tree: Tree, rows: slice) -> Iterator[str]:
    """Yield differences between the tree and the rows of a shard, and bounds that the rows violate."""
    from ..search import tree_kernels

    stored, nodes = tree.rows, tree.nodes
    point = sphere.unit_vectors(columns["lon"], columns["lat"])
    if not (np.array_equal(stored.cell[rows], columns["cell"]) and np.array_equal(stored.land[rows], columns["land"])):
        yield "has cells or land flags that differ from the rows"
        return
    if not np.allclose(stored.point[rows], point, 0, 1e-12):
        yield "has points that differ from the rows"
    vectors = np.ascontiguousarray(columns["embedding"])
    length = tree_kernels.lengths(vectors)
    if not (np.abs(length - 1) <= tree.norm_slack + 1e-12).all():
        yield "has a norm_slack that is too small for the rows"
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
            yield f"has a ball of resolution {level} that misses an embedding of the rows"
        if not (reach <= nodes.reach[some] + _ANGLE_ERROR).all():
            yield f"has a cap of resolution {level} that misses a point of the rows"
        if not np.array_equal(nodes.land[some][whole], land[whole]) or (nodes.land[some] < land).any():
            yield f"has nodes of resolution {level} whose land flag contradicts the rows"


def _check_index_rows(columns: dict[str, NDArray[Any]], index: Index, rows: slice) -> Iterator[str]:
    """Yield differences between the index and the rows of a shard."""
    wanted = np.arange(rows.start, rows.stop)
    if not np.array_equal(index.vectors.of_rows(wanted), columns["embedding"]):
        yield "has vectors that differ from the rows"
    if not np.array_equal(index.vectors.ids_of_rows(wanted), wanted):
        yield "has ids that are not the row numbers"


def _check_index_header(path: Path, index: Index, list_res: int, codes_offset: int) -> Iterator[str]:
    """Yield what is wrong in the header of an index: its type, centroids and list sizes."""
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
            yield "has a header that differs from what FAISS writes for these lists"


def _check_sample(index: Index, encoder: "Encoder") -> Iterator[str]:
    """Encode a random sample of rows again, and yield if they differ from the stored vectors."""
    rows = np.sort(np.random.default_rng(index.res).choice(len(index), min(_SAMPLE, len(index)), replace=False))
    again, _ = unit_half(encoder.encode(*grid.cell_centers(index.cells[rows])))
    cosine = np.einsum("ij,ij->i", again.astype(np.float64), index.vectors.of_rows(rows))
    if not (cosine >= _LEAST_COSINE).all():
        worst = rows[cosine.argmin()]
        yield f"has a vector at row {worst} that the encoder does not reproduce: their similarity is {cosine.min():.4f}"
