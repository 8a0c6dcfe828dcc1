"""The cells of an atlas as a PyTorch data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..geo.grid import Cells, cell_centers
from ..search.index import Index
from ..storage.manifest import Manifest

Sample = dict[str, torch.Tensor]


class CellDataset(Dataset[Sample]):
    """The cells of a resolution as a map-style data set; see :meth:`Atlas.dataset`.

    Parameters
    ----------
    root : Path
        Folder of the atlas.
    res : int
        A resolution of the atlas.
    land : bool, optional
        Only cells with their center on land if True, only ocean cells if False.

    Notes
    -----
    Embeddings are memory-mapped, not loaded. Worker processes open the atlas themselves.

    Examples
    --------
    The data set works in a ``DataLoader`` without options. The fastest way is to read whole batches, without collation:

    >>> from torch.utils.data import BatchSampler, DataLoader, RandomSampler
    >>> batches = BatchSampler(RandomSampler(data), 4096, drop_last=False)    # doctest: +SKIP
    >>> loader = DataLoader(data, sampler=batches, batch_size=None)           # doctest: +SKIP
    """

    def __init__(self, root: Path, res: int, *, land: bool | None = None) -> None:
        self.root, self.res, self.land = root.resolve(), res, land
        self._index = Index.open(self.root, Manifest.read(self.root), res)
        is_land = self._index.tree.rows.land.astype(bool)
        self._rows = np.arange(len(self._index)) if land is None else np.flatnonzero(is_land == land)

    def __len__(self) -> int:
        return int(self._rows.size)

    @property
    def cells(self) -> Cells:
        """The cells, (n,) uint64, ascending: item i is cell i."""
        return self._index.cells[self._rows]

    def __getitem__(self, i: int | slice | Sequence[int] | NDArray[np.int64] | torch.Tensor) -> Sample:
        """Return one cell, or several as a batch.

        Returns
        -------
        dict
            ``embedding``, float32 (dim,), a unit vector; ``lon`` and ``lat`` of the center, float64 degrees; ``cell``,
            int64, the bits of the H3 cell; ``land``, bool. In a batch of n, all have a first axis of n.
        """
        rows = self._rows[i if isinstance(i, int | slice) else np.asarray(i, dtype=np.int64)]
        batch = self._batch(np.atleast_1d(rows))
        return batch if np.ndim(rows) else {name: values[0] for name, values in batch.items()}

    def __getitems__(self, numbers: Sequence[int]) -> list[Sample]:
        """Return several cells as a list, for a ``DataLoader`` that collates them."""
        batch = self[numbers]
        return [
            dict(zip(batch, values, strict=True))
            for values in zip(*(column.unbind() for column in batch.values()), strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "res": self.res, "land": self.land}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _batch(self, rows: NDArray[np.int64]) -> Sample:
        cells = self._index.cells[rows]
        lon, lat = cell_centers(cells)
        return {
            "embedding": torch.from_numpy(self._index.vectors.of_rows(rows)),
            "lon": torch.from_numpy(lon),
            "lat": torch.from_numpy(lat),
            "cell": torch.from_numpy(cells.view(np.int64)),
            "land": torch.from_numpy(self._index.tree.rows.land[rows].astype(bool)),
        }
