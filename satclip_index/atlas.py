"""An atlas on disk, opened: look an embedding up, or ask which places are like some others."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .asking import Asking
from .errors import check_extra
from .geo import grid
from .maps.components_map import components_picture
from .maps.heatmap import WORLD
from .maps.map_contents import Bounds
from .progress import Progress
from .query.notebook_html import atlas_table
from .search.index import Index
from .search.principal_components import Components
from .storage.local_copy import LocalCopy
from .storage.manifest import ENCODER_NAME, Manifest
from .storage.remote import Remote, parse_location

if TYPE_CHECKING:
    import pyarrow as pa

    from .encoder.location_encoder import Encoder
    from .export.torch_dataset import CellDataset
    from .maps.matplotlib_map import Map
    from .tables.join import JoinOptions
    from .tables.joined_table import Joined

_OPENING = Lock()


class Atlas(Asking):
    """The embeddings of every cell of some resolutions; make one with :func:`open_atlas` or ``build_atlas``.

    Parameters
    ----------
    path : Path or LocalCopy
        Its folder, or the copy of one at a URL.
    manifest : Manifest
        What the folder holds.
    """

    def __init__(self, path: Path | LocalCopy, manifest: Manifest) -> None:
        self._where, self.manifest = path, manifest
        self._indexes: dict[int, Index] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._where, self.manifest)  # what it has open is opened anew elsewhere

    def __repr__(self) -> str:
        held = ", ".join(f"res {res}: {entry.count:,} cells" for res, entry in self.manifest.resolutions.items())
        return f"Atlas({str(self._where)!r}, encoder {self.manifest.encoder['name']!r}, {held})"

    def _repr_html_(self) -> str:
        return atlas_table(str(self._where), self.manifest)

    @property
    def path(self) -> Path:
        """Its folder; files of an atlas at a URL that are not on this machine are fetched first."""
        return self._where.folder if isinstance(self._where, LocalCopy) else self._where

    @property
    def resolutions(self) -> list[int]:
        """The resolutions it holds, coarsest first."""
        return list(self.manifest.resolutions)

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder that made it, from its own folder (this imports torch)."""
        from .encoder.location_encoder import Encoder

        encoder = Encoder.load(self.path / ENCODER_NAME)
        self.manifest.check_current(self.path)
        return encoder

    @cached_property
    def components(self) -> Components:
        """The principal components of its embeddings, fitted on land cells of its finest resolution."""
        components = Components.open(self.path, self.manifest.dim)
        self.manifest.check_current(self.path)
        return components

    def index(self, res: int | None = None) -> Index:
        """Return the rows and the tree of a resolution, the finest unless told otherwise."""
        res = self._held(res)
        with _OPENING:  # threads that come at once would each map the files
            if res not in self._indexes:
                self._indexes[res] = Index.open(self.path, self.manifest, res)
            return self._indexes[res]

    def cells(
        self, res: int | None = None, *, columns: Sequence[str] | None = None, land: bool | None = None
    ) -> "pa.RecordBatchReader":
        """Return the cells of a resolution as a stream of Arrow batches, read from Parquet as it is consumed.

        Parameters
        ----------
        res : int, optional
            One of the atlas; the finest by default.
        columns : sequence of str, optional
            Of cell, lon, lat, land, norm, embedding and geometry; all but the last by default.
        land : bool, optional
            Only cells whose centre is land, or only those whose centre is not.
        """
        from .storage.cell_files import stream_columns

        self.manifest.check_current(self.path)
        files = [self.path / file for file in self.manifest.cell_files(self._held(res))]
        return stream_columns(files, columns, land=land)

    def dataset(self, res: int | None = None, *, land: bool | None = None) -> "CellDataset":
        """Return the cells of a resolution as a PyTorch data set; ``res`` and ``land`` as :meth:`cells` has them."""
        from .export.torch_dataset import CellDataset

        return CellDataset(self.path, self._held(res), land=land)

    def plot(
        self, res: int | None = None, *, bounds: Bounds = WORLD, width: int = 1168, land_only: bool = False
    ) -> "Map":
        """Return a map of the embeddings: their first three principal components as red, green and blue.

        Parameters
        ----------
        res : int, optional
            One of the atlas; by default the coarsest whose cells are no wider than two pixels, or else the finest.
        bounds : (west, south, east, north)
            Degrees; by default the world.
        width : int
            Pixels of the map across; down, where it is taller than wide.
        land_only : bool
            Leave the sea out.

        Returns
        -------
        matplotlib Figure
            Places of one colour have embeddings that are alike in what varies most. As Klemmer et al. (2025) show
            SatCLIP's embeddings.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        check_extra("matplotlib", "map")
        from .maps.matplotlib_map import draw

        res = None if res is None else self._held(res)
        return draw(components_picture(self, self.components, bounds, width, res=res, land_only=land_only))

    def embedding_at(self, lon: ArrayLike, lat: ArrayLike, *, res: int | None = None) -> NDArray[np.float32]:
        """Return the embedding of the cell that each point lies in.

        Parameters
        ----------
        lon, lat : float or (n,) array
            Degrees; lon in [-180, 360], lat in [-90, 90].
        res : int, optional
            One of the atlas; the finest by default.

        Returns
        -------
        (n, dim) float32
            Unit vectors, rounded to half precision, as stored. A cell that a land-only atlas left out is encoded.

        Raises
        ------
        CoordinateError
            If a coordinate is missing, not finite or out of range.
        ResolutionError
            If the atlas does not hold the resolution.
        """
        return self.vectors_of(grid.cells_of_points(lon, lat, self._held(res)))

    def _held(self, res: int | None) -> int:
        """Return a resolution of the atlas, the finest for None, or raise ResolutionError."""
        res = self.resolutions[-1] if res is None else grid.check_res(res)
        self.manifest.entry(res)
        return res

    def to_duckdb(
        self,
        path: str | Path,
        *,
        res: int | Sequence[int] | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Path:
        """Write a DuckDB file that stands alone, and return its path: DuckDB 2.0 or later can ask it without us.

        Parameters
        ----------
        path : str or Path
        res : int or sequence of int, optional
            Which resolutions of the atlas; all by default.
        force : bool
            Replace a file that is there, once the new one is complete.
        progress : function of (rows written, total), optional

        Raises
        ------
        AtlasExistsError, ResolutionError, OutputError
            If there is such a file, if the atlas does not hold a resolution, if the file cannot be written.

        Notes
        -----
        It has the table ``cells`` of :func:`connect`, a table ``atlas`` of what made it, and the macros that need no
        encoder. They look names up from where they are called: open the file, or ``ATTACH 'planet.duckdb' AS geo`` and
        call ``geo.places_like(36.8, -1.3)`` without ``USE``, or attach it under another name and ``USE`` that. A file
        called ``geo.duckdb`` can be used either way, but not renamed.
        """
        from .export.duckdb_file import write_standalone

        return write_standalone(self.path, self.manifest, Path(path), res=res, force=force, progress=progress)

    def to_lance(
        self,
        destination: str | Path,
        *,
        res: int | Sequence[int] | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> str:
        """Write LanceDB tables, one a resolution, and return what ``lancedb.connect`` takes to open them.

        Parameters
        ----------
        destination : str or Path
            A folder, or a URL such as ``s3://BUCKET/NAME``.
        res : int or sequence of int, optional
            Which resolutions of the atlas; all by default.
        force : bool
            Replace such tables that are there.
        progress : function of (cells written, total), optional

        Raises
        ------
        MissingExtraError
            If LanceDB is not installed.
        AtlasExistsError, ResolutionError, OutputError
            If anything is there, if the atlas does not hold a resolution, if it cannot be written.

        Notes
        -----
        The table ``cells_4`` has the stored vectors in ``embedding``, an index that a search with ``refine_factor``
        re-ranks by them, and ``cell``, ``lon``, ``lat``, ``land`` and ``parent_0`` to ``parent_2`` to filter by. The
        similarity of an answer is ``1 - _distance`` of a search with ``distance_type("dot")``. A folder is there whole
        or not at all. At a URL each table is: first its cells, then its indexes; what a replaced one held stays for
        whoever reads it, until LanceDB's ``optimize``.
        """
        from .export.lancedb_tables import write_lance

        return write_lance(self.manifest, self.cells, destination, res=res, force=force, progress=progress)

    def join(self, table: Any, **options: "Unpack[JoinOptions]") -> "Joined":
        """Return a table with columns for the cell that each row lies in, as a stream.

        Parameters
        ----------
        table : str, Path, or table of pandas, Polars or Arrow
            A file of points or cells: CSV, TSV, Parquet, GeoParquet, JSON, JSON lines or GeoJSON; or a table in memory.
        **options
            lon, lat, cell, res, exact, embedding, components, like, geometry, strict, descendants and device, as
            :class:`JoinOptions` has them.

        Returns
        -------
        Joined
            To be read as Arrow or pandas, or written to a file.
        """
        from .tables.join import join_cells

        res = self._held(options.get("res"))
        parts = (self.manifest.dim, self.vectors_of, lambda: self.components, lambda: self.encoder)
        return join_cells(table, res, *parts, options)

    def vectors_of(self, cells: grid.Cells, dtype: type[np.floating] = np.float32) -> NDArray[Any]:
        """Return the vectors of some cells of one resolution, encoding those that the atlas does not hold."""
        if not cells.size:
            return np.empty((0, self.manifest.dim), dtype)
        res = int(grid.cell_res(cells[:1])[0])
        held = res in self.manifest.resolutions
        index = self.index(res if held else None)
        rows = index.rows_of(cells) if held else np.full(cells.size, -1)
        if (rows >= 0).all():
            return index.vectors.of_rows(rows, dtype)
        from .encoder.location_encoder import unit_half

        embedding = np.empty((cells.size, self.manifest.dim), dtype)
        embedding[rows >= 0] = index.vectors.of_rows(rows[rows >= 0], dtype)
        missing, where = np.unique(cells[rows < 0], return_inverse=True)
        embedding[rows < 0] = unit_half(self.encoder.encode(*grid.cell_centers(missing)))[0][where]
        return embedding


def open_atlas(path: str | Path = "atlas", *, progress: Progress | None = None) -> Atlas:
    """Return the atlas in a folder, after a cheap check that its files are all there, or at a URL.

    Parameters
    ----------
    path : str or Path
        A folder, or a URL of any file system that fsspec knows, such as ``s3://bucket/world``. At once its manifest is
        read; its other files are fetched when they are first needed, into ``~/.cache/satclip-index`` or the folder
        that SATCLIP_CACHE names, each compared with its SHA-256. They are kept there.
    progress : function of (done, total), optional
        Called with bytes while files are fetched.

    Raises
    ------
    AtlasNotFoundError
        If there is none, or its build never finished.
    CorruptAtlasError
        If a file is missing, has another size, or the manifest cannot be read.
    RemoteError
        If the URL cannot be reached.
    """
    where = parse_location(path)
    if isinstance(where, Remote):
        copy = LocalCopy(where, progress)
        return Atlas(copy, copy.manifest)
    return Atlas(where, Manifest.read(where))
