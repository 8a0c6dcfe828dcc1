"""One shard of an atlas, from cells to files: the same bytes wherever, whenever and beside whatever else it is made."""

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
"""Of (n,) cells of a resolution, and lon and lat of their centres, the raw embeddings, (n, dim)."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The descendants of some cells at a resolution: one Parquet file, and one segment of the index and the tree."""

    res: int
    number: int

    @property
    def name(self) -> str:
        """What the journal calls it."""
        return f"res={self.res}/{self.number:05}"

    @property
    def parquet(self) -> str:
        """Its Parquet file, below the atlas."""
        return f"res={self.res}/cells/part-{self.number:05}.parquet"

    @property
    def segment(self) -> str:
        """Its segment, below the atlas until that is put together."""
        return f"res={self.res}/segments/part-{self.number:05}.safetensors"

    @property
    def roots(self) -> grid.Cells:
        """The cells that it covers."""
        return grid.shard_roots(self.res)[self.number]

    def cell_count(self) -> int:
        """Return how many cells it covers, those at sea included."""
        return grid.descendant_count(self.roots, self.res)


def shards_of(res: int) -> list[Shard]:
    """Return the shards of a resolution, in row order."""
    return [Shard(res, number) for number in range(len(grid.shard_roots(res)))]


def build_shard(
    root: Path, shard: Shard, encoder: "Encoder", encode: Encode, *, land_only: bool
) -> tuple[FileEntry, ...]:
    """Write the files of a shard, and return what they are; none where no cell is left.

    Parameters
    ----------
    root : Path
        Where to write them, by their paths below the atlas.
    shard : Shard
    encoder : Encoder
        What is said to have made it.
    encode : function
        Its way of encoding here.
    land_only : bool
        Leave out cells whose centre is not land.
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
    """Return what the footer of a Parquet file says of its embeddings."""
    return {
        "model": encoder.name,
        "model_sha256": encoder.sha256,
        "dimensions": encoder.dim,
        "data_type": "float16",
        "normalized": True,
        "h3_resolution": res,
    }
