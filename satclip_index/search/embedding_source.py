"""What search, tables, maps and queries need of an open atlas."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..geo.grid import Cells
from ..storage.manifest import Manifest
from .index import Index
from .principal_components import Components

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder


class EmbeddingSource(Protocol):
    """Embeddings of cells, with an index of each resolution: an open :class:`~satclip_index.Atlas`.

    The packages below ``atlas`` depend on this protocol instead of the class.
    """

    @property
    def manifest(self) -> Manifest:
        """The encoder, the resolutions and the files of the atlas."""

    @property
    def encoder(self) -> "Encoder":
        """The encoder that computed the embeddings; reading it imports torch."""

    @property
    def components(self) -> Components:
        """The principal components of the embeddings."""

    def index(self, res: int | None = None) -> Index:
        """Return the index of a resolution, by default the finest, or raise ResolutionError."""

    def vectors_of(self, cells: Cells, dtype: type[np.floating] = np.float32) -> NDArray[Any]:
        """Return the embeddings of cells of one resolution, (n, dim); cells that are not stored are encoded."""
