"""Building one shard of an atlas, from cells to files; its bytes do not depend on other work or on thread counts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..geo import grid
from ..geo.land_mask import is_land
from ..storage.cell_files import write_shard
from ..storage.manifest import FileEntry
from ._segments import write_segment

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

Encode = Callable[[grid.Cells, NDArray[np.float64], NDArray[np.float64]], NDArray[np.float32]]
"""Takes (n,) cells of a resolution with lon and lat of their centers; returns raw embeddings, (n, dim)."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The descendants of some cells at a resolution: one Parquet file, and one segment of the index and the tree."""

    res: int
    number: int

    @property
    def name(self) -> str:
        """The name of the shard in the journal."""
        return f"res={self.res}/{self.number:05}"

    @property
    def parquet(self) -> str:
        """The path of its Parquet file inside the atlas."""
        return f"res={self.res}/cells/part-{self.number:05}.parquet"

    @property
    def segment(self) -> str:
        """The path of its segment, a temporary file of the build."""
        return f"res={self.res}/segments/part-{self.number:05}.safetensors"

    @property
    def roots(self) -> grid.Cells:
        """The cells whose descendants it has."""
        return grid.shard_roots(self.res)[self.number]

    def cell_count(self) -> int:
        """Return the number of its cells, including the ocean."""
        return grid.descendant_count(self.roots, self.res)


def shards_of(res: int) -> list[Shard]:
    """Return the shards of a resolution, in row order."""
    return [Shard(res, number) for number in range(len(grid.shard_roots(res)))]


def build_shard(
    root: Path, shard: Shard, encoder: "Encoder", encode: Encode, *, land_only: bool
) -> tuple[FileEntry, ...]:
    """Write the files of a shard, and return their entries; none if it has no cells.

    Parameters
    ----------
    root : Path
        Folder of the build.
    shard : Shard
    encoder : Encoder
        Recorded in the footer of the Parquet file.
    encode : function
        Encodes the cells on this machine.
    land_only : bool
        Leave out cells whose center is not on land.
    """
    from ..encoder.location_encoder import unit_half

    cells = grid.descendants(shard.roots, shard.res)
    lon, lat = grid.cell_centers(cells)
    land = is_land(lon, lat)
    if land_only:
        cells, lon, lat, land = cells[land], lon[land], lat[land], land[land]
    if not cells.size:
        return ()
    embedding, norm = unit_half(encode(cells, lon, lat))
    for name in (shard.parquet, shard.segment):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
    write_shard(
        root / shard.parquet,
        cells=cells,
        lon=lon,
        lat=lat,
        land=land,
        norm=norm,
        embedding=embedding,
        described=described(encoder, shard.res),
    )
    write_segment(root / shard.segment, shard.res, cells, embedding, lon, lat, land)
    return FileEntry.of(root, root / shard.parquet), FileEntry.of(root, root / shard.segment)


def described(encoder: "Encoder", res: int) -> dict[str, object]:
    """Return the description of the embeddings for the footer of a Parquet file."""
    return {
        "model": encoder.name,
        "model_sha256": encoder.sha256,
        "dimensions": encoder.dim,
        "data_type": "float16",
        "normalized": True,
        "h3_resolution": res,
    }
