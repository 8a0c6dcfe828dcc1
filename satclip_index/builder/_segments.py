"""Segments: the part of the index and the tree that one shard contributes, and how segments are merged."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geo import grid
from ..search.faiss_index import index_header
from ..search.tree import Nodes, Rows, deepest_level, grow, merge_nodes
from ..storage.atomic import atomic_file
from ..storage.tensor_files import StreamedTensor, TensorFile, write_tensors

_ID_BYTES = 8


def write_segment(
    path: Path,
    res: int,
    cells: grid.Cells,
    vectors: NDArray[np.float32],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    land: NDArray[np.bool_],
) -> None:
    """Write the segment of a shard; the arguments are those of :func:`.tree.grow`.

    Vectors must be rounded to half precision. Rows and nodes are numbered within the shard.
    """
    rows, levels, slack = grow(res, cells, vectors, lon, lat, land)
    tensors = {f"rows.{item.name}": getattr(rows, item.name) for item in fields(Rows)}
    for level, nodes in enumerate(levels):
        tensors |= {_name(level, item.name): getattr(nodes, item.name) for item in fields(Nodes)}
    write_tensors(path, tensors | {"codes": vectors.astype(np.float16), "norm_slack": np.array([slack])})


class Segments:
    """The segments of a resolution, in row order; one tensor of one segment is in memory at a time.

    Parameters
    ----------
    paths : sequence of Path
        All segments of the resolution.
    res : int
        H3 resolution.
    list_res : int
        Resolution of the ancestors that are the inverted lists of the index.
    """

    def __init__(self, paths: Sequence[Path], res: int, list_res: int) -> None:
        self._files, self._list_res = [TensorFile(path) for path in paths], list_res
        self._n_levels = deepest_level(res) + 1
        sizes = [file.shape("codes")[0] for file in self._files]
        self._first_row = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        shape = (self._n_levels, len(self._files))
        counts = np.array(
            [[file.shape(_name(level, "scale"))[0] for file in self._files] for level in range(shape[0])]
        ).reshape(shape)
        ends = np.array([file.read("rows.cell")[[0, -1]] for file in self._files])
        # whether the first node of a segment continues the last node of the previous one
        self._continues = np.zeros(shape, bool)
        for level in range(self._n_levels):
            first, last = (grid.ancestors(ends[:, end], level) for end in (0, 1))
            self._continues[level, 1:] = first[1:] == last[:-1]
        assert not self._continues[list_res:].any(), "a list is in one segment"
        self._levels = np.concatenate([[0], np.cumsum(counts.sum(axis=1) - self._continues.sum(axis=1))]).astype(
            np.int64
        )
        # number of the first node of each resolution in each segment
        before = np.hstack([np.zeros((self._n_levels, 1), np.int64), np.cumsum(counts, axis=1)[:, :-1]])
        self._first_node = before - np.cumsum(self._continues, axis=1) + self._levels[:-1, None]

    def __len__(self) -> int:
        return int(self._first_row[-1])

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self._files[0].shape("codes")[1]

    def write_tree(self, path: Path) -> None:
        """Write the tree over all rows as a ``.safetensors`` file, atomically."""
        slack = max(float(file.read("norm_slack")[0]) for file in self._files)
        tensors: dict[str, StreamedTensor | NDArray[Any]] = {"levels": self._levels, "norm_slack": np.array([slack])}
        for item in fields(Rows):
            tensors[f"rows.{item.name}"] = self._streamed(f"rows.{item.name}", len(self), self._rows)
        for item in fields(Nodes):
            tensors[f"nodes.{item.name}"] = self._streamed(item.name, int(self._levels[-1]), self._nodes)
        write_tensors(path, tensors)

    def write_index(self, path: Path) -> int:
        """Write ``index.faiss`` atomically, and return the byte offset of the first vector."""
        first, last = self._levels[self._list_res], self._levels[self._list_res + 1]
        before, after = index_header(self.dim, len(self), int(last - first))
        with atomic_file(path) as file:
            file.write(before)
            for segment in self._files:
                scale = segment.read(_name(self._list_res, "scale"))
                centroids = segment.read(_name(self._list_res, "centroid")) * scale[:, None]
                file.write(centroids.astype(np.float32).data)
            file.write(after)
            for segment in self._files:
                file.write(np.diff(segment.read(_name(self._list_res, "rows")), axis=1).data)
            offset = file.tell()
            for segment, first_row in zip(self._files, self._first_row, strict=False):
                codes = segment.read("codes")
                ids = np.arange(first_row, first_row + len(codes))
                for start, stop in segment.read(_name(self._list_res, "rows")):
                    file.write(codes[start:stop].data)
                    file.write(ids[start:stop].data)
            assert file.tell() == offset + len(self) * (2 * self.dim + _ID_BYTES), path
        return offset

    def _streamed(self, name: str, count: int, parts: Callable[[str], Iterator[NDArray[Any]]]) -> StreamedTensor:
        example = self._files[0].read(name if name.startswith("rows.") else _name(0, name))
        return StreamedTensor(example.dtype, (count, *example.shape[1:]), parts(name))

    def _rows(self, name: str) -> Iterator[NDArray[Any]]:
        for file in self._files:
            yield file.read(name)

    def _nodes(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield an attribute of the nodes, numbered over all segments."""
        for level in range(self._n_levels):
            if self._continues[level].any():
                yield getattr(self._merged(level), name)
            else:
                for number in range(len(self._files)):
                    yield self._attribute(level, number, name)

    def _attribute(self, level: int, number: int, name: str) -> NDArray[Any]:
        values = self._files[number].read(_name(level, name))
        if name == "rows":
            values += self._first_row[number]
        elif name == "children" and level + 1 < self._n_levels:
            values += self._first_node[level + 1, number]
        return values

    def _merged(self, level: int) -> Nodes:
        """Return the nodes of a coarse resolution, merging those that span segments; they are few."""
        numbers = range(len(self._files))
        parts = Nodes(
            **{
                item.name: np.concatenate([self._attribute(level, number, item.name) for number in numbers])
                for item in fields(Nodes)
            }
        )
        starts = [np.arange(self._files[number].shape(_name(level, "scale"))[0]) for number in numbers]
        begins = np.concatenate([(own > 0) | ~self._continues[level, number] for number, own in enumerate(starts)])
        return merge_nodes(parts, np.flatnonzero(begins))


def _name(level: int, name: str) -> str:
    return f"nodes.{level}.{name}"
