"""An open atlas: its embeddings, the searches over them, and what can be made from them."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import QueryError, check_extra
from .geo import grid
from .maps.components_map import components_picture
from .maps.heatmap import WORLD
from .maps.map_contents import BoundingBox
from .progress import Progress
from .query.like import like_cells, like_regions, like_rows
from .query.neighbors import Neighbors
from .query.notebook_html import atlas_table
from .query.question import Question, check_k
from .query.unusual import UnusualRules, unusual_cells
from .query.zoom import check_zoom
from .search.index import Index
from .search.nearest_neighbors import Nearest, check_cells_of, nearest_cells
from .search.principal_components import Components
from .search.search_area import SearchArea
from .search.search_rules import SearchRules
from .storage.local_copy import LocalCopy
from .storage.manifest import ENCODER_NAME, Manifest
from .storage.remote import Remote, parse_location

if TYPE_CHECKING:
    import pyarrow as pa

    from .encoder.location_encoder import Encoder
    from .export.torch_dataset import CellDataset
    from .maps.matplotlib_map import Map
    from .tables.joined_table import Joined

_OPENING = Lock()


class Atlas:
    """The embeddings of every cell of some resolutions; make one with :func:`open_atlas` or ``build_atlas``.

    Parameters
    ----------
    path : Path or LocalCopy
        Its folder, or the local copy of an atlas at a URL.
    manifest : Manifest
        The manifest in that folder.
    """

    def __init__(self, path: Path | LocalCopy, manifest: Manifest) -> None:
        self._location, self.manifest = path, manifest
        self._indexes: dict[int, Index] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._location, self.manifest)  # files are opened again by whoever unpickles it

    def __repr__(self) -> str:
        counts = ", ".join(f"res {res}: {entry.count:,} cells" for res, entry in self.manifest.resolutions.items())
        return f"Atlas({str(self._location)!r}, encoder {self.manifest.encoder['name']!r}, {counts})"

    def _repr_html_(self) -> str:
        return atlas_table(str(self._location), self.manifest)

    @property
    def path(self) -> Path:
        """The folder of the atlas; for an atlas at a URL, its files are downloaded first unless they are cached."""
        return self._location.folder if isinstance(self._location, LocalCopy) else self._location

    @property
    def resolutions(self) -> list[int]:
        """The H3 resolutions of the atlas, coarsest first."""
        return list(self.manifest.resolutions)

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder that computed the embeddings, loaded from the atlas (this imports torch)."""
        from .encoder.location_encoder import Encoder

        encoder = Encoder.load(self.path / ENCODER_NAME)
        self.manifest.check_current(self.path)
        return encoder

    @cached_property
    def components(self) -> Components:
        """The principal components of the embeddings, fitted on land cells of the finest resolution."""
        components = Components.open(self.path, self.manifest.dim)
        self.manifest.check_current(self.path)
        return components

    def index(self, res: int | None = None) -> Index:
        """Return the index of a resolution, by default the finest: its cells, their vectors and the search."""
        res = self._check_res(res)
        with _OPENING:  # otherwise threads that start together would each map the files
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
            A resolution of the atlas; by default the finest.
        columns : sequence of str, optional
            Any of cell, lon, lat, land, norm, embedding and geometry; by default all but geometry.
        land : bool, optional
            Only cells whose center is on land, or only cells whose center is not.
        """
        from .storage.cell_files import stream_columns

        self.manifest.check_current(self.path)
        files = [self.path / file for file in self.manifest.cell_files(self._check_res(res))]
        return stream_columns(files, columns, land=land)

    def embedding_at(self, lon: ArrayLike, lat: ArrayLike, *, res: int | None = None) -> NDArray[np.float32]:
        """Return the embedding of the cell that contains each point.

        Parameters
        ----------
        lon, lat : float or (n,) array
            Degrees; lon in [-180, 360], lat in [-90, 90].
        res : int, optional
            A resolution of the atlas; by default the finest.

        Returns
        -------
        (n, dim) float32
            Unit vectors, rounded to half precision, as stored. Cells that a land-only atlas leaves out are encoded.

        Raises
        ------
        CoordinateError
            If a coordinate is missing, not finite or out of range.
        ResolutionError
            If the atlas does not have the resolution.
        """
        return self.vectors_of(grid.cells_of_points(lon, lat, self._check_res(res)))

    def vectors_of(self, cells: grid.Cells, dtype: type[np.floating] = np.float32) -> NDArray[Any]:
        """Return the embeddings of cells of one resolution, (n, dim); cells that are not stored are encoded."""
        if not cells.size:
            return np.empty((0, self.manifest.dim), dtype)
        res = int(grid.cell_res(cells[:1])[0])
        has_res = res in self.manifest.resolutions
        index = self.index(res if has_res else None)
        rows = index.rows_of(cells) if has_res else np.full(cells.size, -1)
        if (rows >= 0).all():
            return index.vectors.of_rows(rows, dtype)
        from .encoder.location_encoder import unit_half

        embedding = np.empty((cells.size, self.manifest.dim), dtype)
        embedding[rows >= 0] = index.vectors.of_rows(rows[rows >= 0], dtype)
        missing, inverse = np.unique(cells[rows < 0], return_inverse=True)
        embedding[rows < 0] = unit_half(self.encoder.encode(*grid.cell_centers(missing)))[0][inverse]
        return embedding

    def like(
        self,
        place: Any,
        *,
        unlike: Any = (),
        k: int | None = None,
        res: int | None = None,
        exclude_within_km: float = 500.0,
        apart_km: float = 300.0,
        within: Any = None,
        outside: Any = None,
        bbox: Any = None,
        ocean: bool = False,
        min_similarity: float | None = None,
        min_percentile: float | None = None,
        zoom: int | None = None,
        table: str | Path | None = None,
        where: str | None = None,
        lon: str | None = None,
        lat: str | None = None,
        cell: str | None = None,
        explain: bool = False,
        progress: Progress | None = None,
    ) -> Neighbors:
        """Return the places most similar to an example; by default on land and elsewhere on Earth.

        Parameters
        ----------
        place : str, tuple, int, Path, dict, Place, or a list of these
            A city name, a pair (lon, lat), an H3 cell, or a GeoJSON file or document; text may end in a weight,
            ``Nairobi:2``. The query for several places is their weighted mean.
        unlike : as place, optional
            Places that the results should not be similar to.
        k : int, optional
            Number of results; by default 10, or all that qualify if a minimum similarity or percentile is given.
        res : int, optional
            The resolution to search; by default the finest of the atlas.
        exclude_within_km : float
            Minimum distance between a result and any example, in km.
        apart_km : float
            Minimum distance between any two results, in km; they are chosen greedily, the most similar first.
        within, outside : str, Path, dict, or a list of these, optional
            GeoJSON files or documents of polygons: results are inside any area of ``within``, and outside every area of
            ``outside``.
        bbox : (west, south, east, north) or "W,S,E,N", optional
            A bounding box in degrees that results are inside; west above east crosses the antimeridian.
        ocean : bool
            Include cells whose center is not on land.
        min_similarity, min_percentile : float, optional
            Minimum similarity of a result, in [-1, 1], or the percentage of random pairs of land cells that are less
            similar than any result.
        zoom : int, optional
            A resolution finer than ``res``: replace each result by its best descendant of that resolution. The
            descendants are encoded on the fly.
        table : str or Path, optional
            Search the rows of this table instead of cells, on land or not: CSV, TSV, Parquet, GeoParquet or JSON.
        where : str, optional
            A condition on the columns of the table, in DuckDB's SQL.
        lon, lat, cell : str, optional
            Names of the table's columns of degrees or of H3 cells; by default found by their usual names.
        explain : bool
            Add the similarity to each example as columns ``like_1`` and so on. With a table, also add the difference of
            each numeric column from the example's row in standard deviations, ``NAME_sd``. See
            :meth:`Neighbors.explanations`.
        progress : function of (done, total), optional
            Called while zooming.

        Returns
        -------
        Neighbors
            Fewer than k if no more qualify. The result is exact: it is that of a comparison with every cell, or every
            row of the table; ties are ordered by row. With ``zoom`` the search is exact, and only its results are
            refined.

        Raises
        ------
        PlaceError, CoordinateError, InvalidCellError
            If an example is not a place, or ``within``, ``outside`` or ``bbox`` not an area.
        ResolutionError
            If the atlas does not have the resolution.
        TableError
            If the table cannot be read.
        QueryError
            If an option is out of range, or the examples cancel each other out.

        Notes
        -----
        The query vector is the stored vector of a single example, the unit mean of several, and with ``unlike`` the
        unit vector along 2 mean(place) - mean(unlike) (Rocchio 1971). The vector of an area is the unit mean of its
        cells.
        """
        rules = SearchRules(
            k=k,
            exclude_within_km=exclude_within_km,
            apart_km=apart_km,
            area=SearchArea.read(within, outside, bbox),
            ocean=ocean,
            min_similarity=min_similarity,
            min_percentile=min_percentile,
        )
        question = self._question(place, unlike, res, rules)
        if table is None and (where or lon or lat or cell):
            raise QueryError("where, lon, lat and cell are about the rows of a table; none was given.")
        if table is None:
            if zoom is not None:
                check_zoom(zoom, question)
            return like_cells(self, question, zoom=zoom, explain=explain, progress=progress)
        if zoom is not None:
            raise QueryError("zoom looks into cells, and a table's rows are points: give one or the other.")
        from .tables.candidates import Candidates
        from .tables.row_locations import TableColumns

        candidates = Candidates.open(table, where=where, columns=TableColumns(lon=lon, lat=lat, cell=cell))
        return like_rows(self, question, candidates, explain=explain)

    def query_vector(self, place: Any, *, unlike: Any = (), res: int | None = None) -> NDArray[np.float32]:
        """Return the query vector that :meth:`like` compares every cell with, (dim,) float32.

        Parameters
        ----------
        place, unlike, res :
            As in :meth:`like`.
        """
        return self._question(place, unlike, res, SearchRules()).query(self)

    def regions(
        self,
        place: Any,
        *,
        unlike: Any = (),
        k: int | None = 10,
        res: int | None = None,
        exclude_within_km: float = 500.0,
        within: Any = None,
        outside: Any = None,
        bbox: Any = None,
        ocean: bool = False,
        min_similarity: float | None = None,
        min_percentile: float | None = None,
    ) -> Neighbors:
        """Return contiguous regions of cells that are similar to an example, ordered by their best cell.

        Parameters
        ----------
        place, unlike, res, exclude_within_km, within, outside, bbox, ocean :
            As in :meth:`like`.
        k : int or None
            Number of regions; None for all.
        min_similarity, min_percentile : float, optional
            The threshold for cells that form regions; by default the 95th percentile.

        Returns
        -------
        Neighbors
            A row for each region, with its best cell in the columns of :meth:`like`. ``extra`` has
            ``mean_similarity`` (each cell counts once, whatever its area), ``cells`` (their number) and ``area_km2``;
            ``outlines`` has the outline of each region.
        """
        if min_similarity is None and min_percentile is None:
            min_percentile = 95.0
        rules = SearchRules(
            k=k,
            exclude_within_km=exclude_within_km,
            area=SearchArea.read(within, outside, bbox),
            ocean=ocean,
            min_similarity=min_similarity,
            min_percentile=min_percentile,
        )
        return like_regions(self, self._question(place, unlike, res, rules))

    def neighbors(
        self, cells: Any, k: int = 10, *, res: int | None = None, progress: Progress | None = None
    ) -> Nearest:
        """Return the nearest neighbors of many cells, each cell itself first; the whole Earth is searched.

        Parameters
        ----------
        cells : (n,) uint64, or text
            H3 cells of one resolution.
        k : int
            Number of neighbors of each cell.
        res : int, optional
            The resolution of the cells, one of the atlas; by default the finest.
        progress : function of (done, total), optional
            Called with the number of cells.

        Returns
        -------
        Nearest
            Its ``method`` is the tree, or FAISS if FAISS has a GPU (not yet tested on one); ``exact`` says whether it
            is the result of comparing every pair.

        Raises
        ------
        InvalidCellError, ResolutionError, QueryError
            If a cell is invalid or of another resolution; if the atlas does not have the resolution; if k is below 1.
        """
        res, rules = self._check_res(res), SearchRules(k=check_k(k) or 1)
        return nearest_cells(self, check_cells_of(cells, res), res, rules, progress=progress)

    def unusual(
        self,
        *,
        k: int | None = 10,
        res: int | None = None,
        beyond_km: float = 1000.0,
        apart_km: float = 300.0,
        within: Any = None,
        outside: Any = None,
        bbox: Any = None,
        ocean: bool = False,
        progress: Progress | None = None,
    ) -> Neighbors:
        """Return the most unusual cells: those whose best match far away has the lowest similarity.

        Parameters
        ----------
        k : int or None
            Number of cells; None for all, each with its uniqueness.
        res : int, optional
            The resolution to search; by default the finest of the atlas.
        beyond_km : float
            Minimum distance between a cell and its match, in km.
        apart_km : float
            Minimum distance between any two results, in km; they are chosen greedily, the most unusual first.
        within, outside, bbox :
            Areas of the results, as in :meth:`like`; matches may be anywhere.
        ocean : bool
            Include cells whose center is not on land, in results and in matches.
        progress : function of (done, total), optional
            Called with the number of cells; every cell is compared.

        Returns
        -------
        Neighbors
            The most unusual first. ``similarity``, ``percentile`` and ``distance_km`` are those of the best match.
            ``extra`` has ``uniqueness``, the percentage of compared cells whose best match is more similar, and
            ``match_cell``, ``match_lon``, ``match_lat``, ``match_city`` and ``match_country``.

        Raises
        ------
        ResolutionError, QueryError, PlaceError
            As in :meth:`like`.
        """
        res, area = self._check_res(res), SearchArea.read(within, outside, bbox)
        rules = UnusualRules(k=check_k(k), beyond_km=beyond_km, apart_km=apart_km, area=area, ocean=ocean)
        return unusual_cells(self, res, rules, progress=progress)

    def join(
        self,
        table: Any,
        *,
        lon: str | None = None,
        lat: str | None = None,
        cell: str | None = None,
        res: int | None = None,
        exact: bool = False,
        embedding: str | None = None,
        components: int | None = None,
        like: Any = (),
        geometry: str | None = None,
        strict: bool = False,
        descendants: bool = False,
        device: str = "auto",
    ) -> "Joined":
        """Return a table with added columns for the cell of each row, as a stream.

        Parameters
        ----------
        table : str, Path, or a table of pandas, Polars or Arrow
            A file of points or cells: CSV, TSV, Parquet, GeoParquet, JSON, JSON lines or GeoJSON; or a table in memory.
        lon, lat, cell : str, optional
            Names of the table's columns of degrees or of H3 cells; by default found by their usual names. A cell finer
            than ``res`` counts as its ancestor.
        res : int, optional
            A resolution of the atlas; by default the finest.
        exact : bool
            Embed the point of each row instead of using the stored embedding of its cell.
        embedding : {"list", "columns", "none"}, optional
            Add the embedding as one list column, as one column per dimension, or not at all; by default a list, or not
            at all with ``components``.
        components : int, optional
            Add this many principal components of the atlas, ``pc_01`` and so on.
        like : place, or a list of places, optional
            Add the ``similarity`` to a place, as :meth:`like` accepts it; ``similarity_1`` and so on for several.
        geometry : {"point", "polygon", "none"}, optional
            Add a geometry: the point of the row, or the boundary of its cell. By default the output format decides: a
            point if the format has geometries and the table has none.
        strict : bool
            Raise TableError at the first row that has no place on Earth. By default such rows get NULL in the added
            columns, and are counted in ``left_out``.
        descendants : bool
            Repeat a row of a cell coarser than ``res`` for each of its descendants.
        device : str
            The device for ``exact``: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

        Returns
        -------
        Joined
            Read it as Arrow or pandas, or write it to a file.

        Raises
        ------
        TableError
            If the table cannot be read, or no coordinates or cells are found in it.
        ResolutionError, PlaceError, QueryError, EncoderError
            If the atlas does not have the resolution; if ``like`` is not a place; if another option is invalid.
        """
        from .tables.join import JoinOptions, join_cells
        from .tables.row_locations import TableColumns

        options = JoinOptions(
            columns=TableColumns(lon=lon, lat=lat, cell=cell),
            res=self._check_res(res),
            exact=exact,
            embedding=embedding,
            components=components,
            like=like,
            geometry=geometry,
            strict=strict,
            descendants=descendants,
            device=device,
        )
        return join_cells(self, table, options)

    def plot(
        self, res: int | None = None, *, bounds: BoundingBox = WORLD, width: int = 1168, land_only: bool = False
    ) -> "Map":
        """Return a map of the embeddings: their first three principal components as red, green and blue.

        Parameters
        ----------
        res : int, optional
            A resolution of the atlas; by default the coarsest whose cells are at most two pixels wide, or the finest.
        bounds : (west, south, east, north)
            Degrees; by default the world.
        width : int
            Longer side of the map, in pixels.
        land_only : bool
            Leave ocean cells transparent.

        Returns
        -------
        matplotlib Figure
            Places of similar color have embeddings that are similar in the directions of greatest variance. Klemmer et
            al. (2025) show SatCLIP's embeddings in this way.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        check_extra("matplotlib", "map")
        from .maps.matplotlib_map import draw

        res = None if res is None else self._check_res(res)
        return draw(components_picture(self, bounds, width, res=res, land_only=land_only))

    def dataset(self, res: int | None = None, *, land: bool | None = None) -> "CellDataset":
        """Return the cells of a resolution as a PyTorch data set; ``res`` and ``land`` as in :meth:`cells`."""
        from .export.torch_dataset import CellDataset

        return CellDataset(self.path, self._check_res(res), land=land)

    def to_duckdb(
        self,
        path: str | Path,
        *,
        res: int | Sequence[int] | None = None,
        force: bool = False,
        progress: Progress | None = None,
    ) -> Path:
        """Write a DuckDB file that any DuckDB 2.0 or later can query without satclip-index, and return its path.

        Parameters
        ----------
        path : str or Path
        res : int or sequence of int, optional
            Resolutions to write; by default all of the atlas.
        force : bool
            Replace an existing file, once the new one is complete.
        progress : function of (rows written, total), optional

        Raises
        ------
        AtlasExistsError, ResolutionError, OutputError
            If the file exists, if the atlas does not have a resolution, or if the file cannot be written.

        Notes
        -----
        The file has the table ``cells`` of :func:`connect`, a table ``atlas`` with its origin, and the macros that need
        no encoder. Macros look up names in the caller's search path: open the file itself, or ``ATTACH 'planet.duckdb'
        AS geo`` and call ``geo.places_like(36.8, -1.3)`` without ``USE``, or attach it under another name and ``USE``
        that. A file named ``geo.duckdb`` works either way, but cannot be renamed.
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
        """Write a LanceDB table for each resolution, and return the argument of ``lancedb.connect`` that opens them.

        Parameters
        ----------
        destination : str or Path
            A folder, or a URL such as ``s3://BUCKET/NAME``.
        res : int or sequence of int, optional
            Resolutions to write; by default all of the atlas.
        force : bool
            Replace existing tables.
        progress : function of (cells written, total), optional

        Raises
        ------
        MissingExtraError
            If LanceDB is not installed.
        AtlasExistsError, ResolutionError, OutputError
            If the destination exists, if the atlas does not have a resolution, or if it cannot be written.

        Notes
        -----
        The table ``cells_4`` has the stored vectors in ``embedding``, an index that a search with ``refine_factor``
        re-ranks by them, and ``cell``, ``lon``, ``lat``, ``land`` and ``parent_0`` to ``parent_2`` for filters. The
        similarity of a result is ``1 - _distance`` in a search with ``distance_type("dot")``. A folder appears whole or
        not at all. At a URL each table appears whole: first its cells, then its indexes; readers of a replaced table
        keep its data until LanceDB's ``optimize``.
        """
        from .export.lancedb_tables import write_lance

        return write_lance(self.manifest, self.cells, destination, res=res, force=force, progress=progress)

    def _check_res(self, res: int | None) -> int:
        """Return a resolution of the atlas, the finest for None, or raise ResolutionError."""
        res = self.resolutions[-1] if res is None else grid.check_res(res)
        self.manifest.entry(res)
        return res

    def _question(self, place: Any, unlike: Any, res: int | None, rules: SearchRules) -> Question:
        res = self._check_res(res)
        return Question.of(place, unlike, res, rules, self.manifest.entry(res))


def open_atlas(path: str | Path = "atlas", *, progress: Progress | None = None) -> Atlas:
    """Return the atlas in a folder or at a URL, after a quick check that its files are complete.

    Parameters
    ----------
    path : str or Path
        A folder, or a URL of any file system that fsspec supports, such as ``s3://bucket/world``. The manifest is read
        at once. Other files at a URL are downloaded when first needed, verified by SHA-256 and cached in
        ``~/.cache/satclip-index``, or in the folder of the environment variable SATCLIP_CACHE.
    progress : function of (done, total), optional
        Called with bytes while files are downloaded.

    Raises
    ------
    AtlasNotFoundError
        If there is no atlas, or its build did not finish.
    CorruptAtlasError
        If a file is missing or has another size, or the manifest cannot be read.
    RemoteError
        If the URL cannot be reached.
    """
    location = parse_location(path)
    if isinstance(location, Remote):
        copy = LocalCopy(location, progress)
        return Atlas(copy, copy.manifest)
    return Atlas(location, Manifest.read(location))
