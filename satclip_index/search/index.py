"""One resolution of an atlas, opened: its rows, and the tree over their vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError
from ..grid import Cells
from ..manifest import Manifest
from ..store import read_columns
from .tree import Tree, read_levels
from .vectors import Vectors


@dataclass(frozen=True, slots=True)
class Index:
    """What is known of every row of a resolution, in row order.

    ``cells`` (n,) uint64, ascending; ``lon``, ``lat`` (n,) float64, degrees; ``land`` (n,) bool; ``vectors`` the
    stored embeddings; ``tree`` the search over them.
    """

    cells: Cells
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    land: NDArray[np.bool_]
    vectors: Vectors
    tree: Tree

    @classmethod
    def open(cls, root: Path, manifest: Manifest, res: int) -> Self:
        """Return a resolution of the atlas at ``root``, or raise ResolutionError or CorruptAtlasError."""
        entry = manifest.entry(res)
        columns = read_columns([root / file for file in manifest.cell_files(res)], ["cell", "lon", "lat", "land"])
        folder = root / f"res={res}"
        levels, norm_slack = read_levels(folder / "tree.safetensors", entry.list_res)
        if not columns["cell"].size == entry.count == levels[-1].start[-1]:
            raise CorruptAtlasError(
                f"{folder} does not hold the {entry.count} rows of its manifest. Build the atlas again."
            )
        vectors = Vectors(folder / "index.faiss", entry.codes_offset, levels[-1].start, manifest.dim)
        return cls(
            columns["cell"], columns["lon"], columns["lat"], columns["land"], vectors, Tree(levels, norm_slack, vectors)
        )

    def rows_of(self, cells: Cells) -> NDArray[np.int64]:
        """Return the row of each cell, (n,) int64; -1 where the atlas does not hold it."""
        rows = np.searchsorted(self.cells, cells)
        held = self.cells[np.minimum(rows, self.cells.size - 1)] == cells
        return np.where(held, rows, -1)
