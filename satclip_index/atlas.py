"""An atlas on disk, opened: look an embedding up, or ask which places are like some others."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import grid
from .cities import nearest_cities
from .errors import QueryError
from .manifest import ENCODER_NAME, Manifest
from .neighbors import Neighbors
from .places import Place
from .search.engine import Filter
from .search.geography import MANY_POINTS, away_from, disks
from .search.index import Index

if TYPE_CHECKING:
    from .encoder import Encoder


class Atlas:
    """The embeddings of every cell of some resolutions; make one with :func:`open_atlas` or ``build_atlas``.

    Parameters
    ----------
    path : Path
        Its folder.
    manifest : Manifest
        What the folder holds.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._indexes: dict[int, Index] = {}

    def __repr__(self) -> str:
        held = ", ".join(f"res {res}: {entry.count:,} cells" for res, entry in self.manifest.resolutions.items())
        return f"Atlas({str(self.path)!r}, encoder {self.manifest.encoder['name']!r}, {held})"

    @property
    def resolutions(self) -> list[int]:
        """The resolutions it holds, coarsest first."""
        return list(self.manifest.resolutions)

    @cached_property
    def encoder(self) -> "Encoder":
        """The encoder that made it, from its own folder (this imports torch)."""
        from .encoder import Encoder

        return Encoder.load(self.path / ENCODER_NAME)

    def index(self, res: int | None = None) -> Index:
        """Return the rows and the tree of a resolution, the finest unless told otherwise."""
        res = self.resolutions[-1] if res is None else grid.check_res(res)
        if res not in self._indexes:
            self._indexes[res] = Index.open(self.path, self.manifest, res)
        return self._indexes[res]

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
        res = self.resolutions[-1] if res is None else res
        return self._of_cells(grid.cells_of_points(lon, lat, res), res)

    def like(
        self,
        place: Any,
        *,
        unlike: Any = (),
        k: int = 10,
        res: int | None = None,
        exclude_within_km: float = 500.0,
        apart_km: float = 300.0,
        ocean: bool = False,
    ) -> Neighbors:
        """Return the places most like an example, elsewhere.

        Parameters
        ----------
        place : str, tuple, int, Path, dict, Place, or a list of these
            A city, a pair (lon, lat), an H3 cell, or a GeoJSON file or document. Of several, the mean is taken.
        unlike : the same, optional
            What the answer should not be like.
        k : int
            How many places; at least 1.
        res : int, optional
            One of the atlas; the finest by default.
        exclude_within_km : float
            No answer is nearer than this to any example.
        apart_km : float
            No two answers are nearer than this to each other: taken greedily, the most similar first.
        ocean : bool
            Whether cells whose centre is not land may be answers.

        Returns
        -------
        Neighbors
            Fewer than k where no more cells qualify. Exactly what comparing with every cell would give, ties by row.

        Raises
        ------
        PlaceError, CoordinateError, InvalidCellError
            If an example is not a place.
        ResolutionError
            If the atlas does not hold the resolution.
        QueryError
            If an option is out of range, or the examples cancel each other out.

        Notes
        -----
        The query is the stored vector of one example, the unit mean of several, and with ``unlike`` the unit vector
        along 2 mean(place) - mean(unlike) (Rocchio 1971). An area counts as the unit mean of its cells.
        """
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise QueryError(f"k is {k!r}; expected a whole number of at least 1.")
        for name, km in (("exclude_within_km", exclude_within_km), ("apart_km", apart_km)):
            if not 0 <= km < math.inf:
                raise QueryError(f"{name} is {km!r}; expected kilometres, at least 0.")
        res = self.resolutions[-1] if res is None else res
        index = self.index(res)
        wanted, unwanted = _places(place), _places(unlike)
        if not wanted:
            raise QueryError("No example was given; expected at least one place.")
        query = self._query(
            [self._of_place(item, res) for item in wanted], [self._of_place(item, res) for item in unwanted]
        )
        example_lon, example_lat = map(np.concatenate, zip(*(item.locations(res) for item in wanted), strict=True))
        examples = grid.PointSet(example_lon, example_lat)
        many = exclude_within_km > 0 and example_lon.size > MANY_POINTS
        where = Filter(
            land_only=not ocean,
            away=disks(example_lon, example_lat, 0.0 if many else exclude_within_km),
            ranges=away_from(index.tree, examples, exclude_within_km) if many else None,
            apart_rad=apart_km / grid.EARTH_RADIUS_KM,
        )
        found = index.engine.top(query, int(k), where)
        rows, similarity = found.rows, found.similarity
        lon, lat = grid.cell_centers(index.cells[rows])
        names, countries = nearest_cities(lon, lat)
        return Neighbors(
            rank=np.arange(1, rows.size + 1),
            cell=index.cells[rows],
            lon=lon,
            lat=lat,
            similarity=similarity,
            percentile=self.manifest.entry(res).percentile(similarity),
            distance_km=examples.distance_km(lon, lat),
            nearest_city=np.array(names, dtype=object),
            country=np.array(countries, dtype=object),
            query={
                "like": [item.describe(res) for item in wanted],
                "unlike": [item.describe(res) for item in unwanted],
                "query": _formula(len(wanted), len(unwanted)),
                "k": int(k),
                "res": int(res),
                "exclude_within_km": float(exclude_within_km),
                "apart_km": float(apart_km),
                "ocean": ocean,
                "encoder": self.manifest.encoder["name"],
                "exact": True,
            },
        )

    def _of_cells(self, cells: grid.Cells, res: int) -> NDArray[np.float32]:
        """Return the stored vectors of some cells, encoding those that a land-only atlas left out."""
        index = self.index(res)
        rows = index.rows_of(cells)
        if (rows >= 0).all():
            return index.vectors.of_rows(rows)
        from .encoder import unit_half

        embedding = np.empty((cells.size, self.manifest.dim), dtype=np.float32)
        embedding[rows >= 0] = index.vectors.of_rows(rows[rows >= 0])
        embedding[rows < 0], _ = unit_half(self.encoder.encode(*grid.cell_centers(cells[rows < 0])))
        return embedding

    def _of_place(self, place: Place, res: int) -> NDArray[np.float32]:
        vectors = self._of_cells(place.cells(res), res)
        return (
            vectors[0] if vectors.shape[0] == 1 else _unit(vectors.mean(axis=0, dtype=np.float64), "cells of a place")
        )

    @staticmethod
    def _query(wanted: Sequence[NDArray[np.float32]], unwanted: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        if len(wanted) == 1 and not unwanted:
            return wanted[0]
        query = np.stack(wanted).astype(np.float64).mean(axis=0)
        if unwanted:
            query = 2 * query - np.stack(unwanted).astype(np.float64).mean(axis=0)
        return _unit(query, "examples")


def open_atlas(path: str | Path = "atlas") -> Atlas:
    """Return the atlas in a folder, after a cheap check that its files are all there.

    Raises
    ------
    AtlasNotFoundError
        If there is none, or its build never finished.
    CorruptAtlasError
        If a file is missing, has another size, or the manifest cannot be read.
    """
    path = Path(path)
    return Atlas(path, Manifest.read(path))


def _places(value: Any) -> list[Place]:
    several = isinstance(value, list) or (isinstance(value, tuple) and not _is_pair(value))
    return [Place.of(item) for item in (value if several else [value])]


def _is_pair(value: tuple[Any, ...]) -> bool:
    return len(value) == 2 and all(isinstance(part, int | float | np.number) for part in value)


def _unit(vector: NDArray[np.float64], what: str) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise QueryError(f"The {what} cancel each other out; take away one of them.")
    return (vector / length).astype(np.float32)


def _formula(wanted: int, unwanted: int) -> str:
    if unwanted:
        return "unit(2 * mean(like) - mean(unlike))"
    return "unit(mean(like))" if wanted > 1 else "like"
