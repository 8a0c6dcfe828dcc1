"""The questions that can be asked of an atlas."""

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import QueryError
from .geo import grid
from .progress import Progress
from .query.like import like_cells, like_regions, like_rows
from .query.neighbors import Neighbors
from .query.question import Bounds, Question, check_k
from .query.unusual import Unusual, unusual_cells
from .query.zoom import check_zoom, zoom_in
from .search.engine import Filter
from .search.index import Index
from .search.nearest_neighbors import Nearest, check_cells_of, nearest_cells
from .storage.manifest import Manifest

if TYPE_CHECKING:
    from .encoder.location_encoder import Encoder


class Asking(ABC):
    """What an :class:`Atlas` can be asked; it needs only these of it."""

    manifest: Manifest

    @property
    @abstractmethod
    def encoder(self) -> "Encoder":
        """The encoder that made the embeddings."""

    @abstractmethod
    def index(self, res: int | None = None) -> Index:
        """Return the rows and the tree of a resolution, the finest unless told otherwise."""

    @abstractmethod
    def vectors_of(self, cells: grid.Cells, dtype: type[np.floating] = np.float32) -> NDArray[Any]:
        """Return the vectors of some cells of one resolution, (n, dim), encoding those that are not stored."""

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
        """Return the places most like an example, elsewhere.

        Parameters
        ----------
        place : str, tuple, int, Path, dict, Place, or a list of these
            A city, a pair (lon, lat), an H3 cell, or a GeoJSON file or document; text may end in a weight,
            ``Nairobi:2``. Of several, the weighted mean is taken.
        unlike : the same, optional
            What the answer should not be like.
        k : int, optional
            How many places; by default 10, or all that qualify where a least similarity is given.
        res : int, optional
            One of the atlas; the finest by default.
        exclude_within_km : float
            No answer is nearer than this to any example.
        apart_km : float
            No two answers are nearer than this to each other: taken greedily, the most similar first.
        within, outside : str, Path, dict, or a list of these, optional
            GeoJSON files or documents of polygons: answers lie in any of the ones, and in none of the others.
        bbox : (west, south, east, north) or "W,S,E,N", optional
            Answers lie in this box of degrees; west above east crosses the antimeridian.
        ocean : bool
            Whether cells whose centre is not land may be answers.
        min_similarity, min_percentile : float, optional
            The least similarity of an answer, in [-1, 1]; or that which so many per cent of random pairs of land cells
            do not reach.
        zoom : int, optional
            A finer resolution than the atlas holds: each answer is replaced by the best of its descendants, which are
            encoded when they are asked for.
        table : str or Path, optional
            A table, whose rows are then the candidates, on land or not: CSV, TSV, Parquet, GeoParquet or JSON.
        where : str, optional
            A condition over the table's columns, in DuckDB's SQL.
        lon, lat, cell : str, optional
            The table's columns of degrees, or of H3 cells, where their names do not say so.
        explain : bool
            Add the similarity to each example, ``like_1`` and so on; and, with a table, how each of its numbers differs
            from the example's in standard deviations, ``NAME_sd``. See :meth:`Neighbors.explanations`.
        progress : function of (done, total), optional
            Called while zooming.

        Returns
        -------
        Neighbors
            Fewer than k where no more qualify. Exactly what comparing with every cell, or every row of the table, would
            give; ties by row. With ``zoom`` that holds of the search, and its answers alone are looked into.

        Raises
        ------
        PlaceError, CoordinateError, InvalidCellError
            If an example is not a place, or a bound not an area.
        ResolutionError
            If the atlas does not hold the resolution.
        TableError
            If the table cannot be read.
        QueryError
            If an option is out of range, or the examples cancel each other out.

        Notes
        -----
        The query is the stored vector of one example, the unit mean of several, and with ``unlike`` the unit vector
        along 2 mean(place) - mean(unlike) (Rocchio 1971). An area counts as the unit mean of its cells.
        """
        bounds = Bounds.of(within, outside, bbox)
        rules = (exclude_within_km, apart_km, bounds, ocean, min_similarity, min_percentile)
        question = self._question(place, unlike, k, res, *rules)
        if table is None and (where or lon or lat or cell):
            raise QueryError("where, lon, lat and cell are about the rows of a table; none was given.")
        if table is not None and zoom is not None:
            raise QueryError("zoom looks into cells, and a table's rows are points: give one or the other.")
        if zoom is not None:
            check_zoom(zoom, question)
        index, entry = self.index(question.res), self.manifest.entry(question.res)
        query, asked = question.query(self.vectors_of), self._asked(question)
        if table is not None:
            columns = {"where": where, "lon": lon, "lat": lat, "cell": cell}
            explain_by = self.vectors_of if explain else None
            rows = like_rows(question, query, index, entry, asked, table, columns, explain_by)
            return replace(rows, scene=question.scene(self, query))
        found = index.engine.top(query, question.k or len(index), question.where(index))
        cells, similarity = index.cells[found.rows], found.similarity
        if zoom is not None:
            zoomed = zoom_in(question, query, cells, zoom, self.encoder, progress=progress)
            cells, similarity = zoomed.cell, zoomed.similarity
            # The rest of the Earth was not looked at so closely.
            asked |= {"exact": False, "zoom": zoomed.describe(zoom)}
        answer = like_cells(question, cells, similarity, entry, asked, self.vectors_of if explain else None)
        return replace(answer, scene=question.scene(self, query))

    def query_vector(self, place: Any, *, unlike: Any = (), res: int | None = None) -> NDArray[np.float32]:
        """Return the vector that :meth:`like` compares every cell with, (dim,) float32.

        Parameters
        ----------
        place, unlike, res :
            As :meth:`like` has them.
        """
        question = self._question(place, unlike, None, res, 0.0, 0.0, Bounds(), True, None, None)
        return question.query(self.vectors_of)

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
        """Return contiguous regions of cells that are like an example, the one with the best cell first.

        Parameters
        ----------
        place, unlike, res, exclude_within_km, within, outside, bbox, ocean :
            As :meth:`like` has them.
        k : int or None
            How many regions; None for all.
        min_similarity, min_percentile : float, optional
            Which cells match; by default those of the 95th percentile.

        Returns
        -------
        Neighbors
            A region a row, and its best cell in the columns of :meth:`like`. ``extra`` has its ``mean_similarity``,
            each cell counted once, its number of ``cells`` and its ``area_km2``; ``outlines`` its outline.
        """
        if min_similarity is None and min_percentile is None:
            min_percentile = 95.0
        bounds = Bounds.of(within, outside, bbox)
        rules = (exclude_within_km, 0.0, bounds, ocean, min_similarity, min_percentile)
        question = replace(self._question(place, unlike, k, res, *rules), k=check_k(k))
        index, entry = self.index(question.res), self.manifest.entry(question.res)
        query = question.query(self.vectors_of)
        found = index.engine.top(query, len(index), question.where(index))
        answer = like_regions(question, index.cells[found.rows], found.similarity, entry, self._asked(question))
        return replace(answer, scene=question.scene(self, query))

    def neighbors(
        self, cells: Any, k: int = 10, *, res: int | None = None, progress: Progress | None = None
    ) -> Nearest:
        """Return the most similar cells of many cells, themselves first: plain nearest neighbours, everywhere.

        Parameters
        ----------
        cells : (n,) uint64, or text
            H3 cells of one resolution.
        k : int
            Neighbours of each.
        res : int, optional
            Their resolution, one of the atlas; the finest by default.
        progress : function of (done, total), optional

        Returns
        -------
        Nearest
            It says whether it is exact, and what found it: the tree, or FAISS where it finds a GPU (not yet run on
            one).

        Raises
        ------
        InvalidCellError, ResolutionError, QueryError
            If a cell is not one, or not of the resolution; if the atlas does not hold that; if k is below 1.
        """
        index, k = self.index(res), check_k(k) or 1
        return nearest_cells(index, check_cells_of(cells, index.res), self.vectors_of, k, Filter(), progress=progress)

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
        """Return the cells that are least like any place far away: those whose best match is worst.

        Parameters
        ----------
        k : int or None
            How many; None for all, each with its index of uniqueness.
        res : int, optional
            One of the atlas; the finest by default.
        beyond_km : float
            A match is at least so far away.
        apart_km : float
            No two answers are nearer than this to each other: taken greedily, the most unusual first.
        within, outside, bbox :
            Where answers lie, as :meth:`like` has them; matches may lie anywhere.
        ocean : bool
            Whether cells whose centre is not land may be answers, and matches.
        progress : function of (done, total), optional
            Called as cells are done: every one of them is compared.

        Returns
        -------
        Neighbors
            The most unusual first. ``similarity``, ``percentile`` and ``distance_km`` are those of the best match;
            ``extra`` has ``uniqueness``, the share of all cells asked about whose best match is better, in per cent,
            and ``match_cell``, ``match_lon``, ``match_lat``, ``match_city`` and ``match_country``.

        Raises
        ------
        ResolutionError, QueryError, PlaceError
            As :meth:`like`.
        """
        index, bounds = self.index(res), Bounds.of(within, outside, bbox)
        rules = Unusual(check_k(k), beyond_km, apart_km, bounds, ocean)
        asked = rules.describe() | {"res": index.res, "encoder": self.manifest.encoder["name"], "exact": True}
        return unusual_cells(rules, index, self.manifest.entry(index.res), asked, progress=progress)

    def _question(self, place: Any, unlike: Any, k: int | None, res: int | None, *rules: Any) -> Question:
        """Return a question at a resolution of this atlas."""
        res = self.index(res).res
        return Question.of(place, unlike, k, res, self.manifest.entry(res), *rules)

    def _asked(self, question: Question) -> dict[str, Any]:
        return question.describe() | {"encoder": self.manifest.encoder["name"], "exact": True}
