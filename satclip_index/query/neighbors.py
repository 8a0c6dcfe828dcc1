"""The answer to a question: places, one a row."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, QueryError, SatclipIndexError, check_extra, one_line
from ..formats.rows import GEOMETRIES, Geometry, Row, write_rows
from ..geo.cell_polygons import cell_polygons
from ..geo.gazetteer import nearest_cities
from ..geo.grid import Cells
from ..maps.captions import subtitle_of, title_of
from ..maps.color_scale import Scale
from ..maps.heatmap import WORLD, check_bounds, heat_map, pixels_of
from ..maps.map_contents import Bounds, Picture, check_map_path, lines_of_geojson
from ..storage.atomic import replacing
from ._map_context import Scene
from .notebook_html import html_table, png_html

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import pyarrow as pa

    from ..maps.matplotlib_map import Map

_SHOWN_ROWS = 60  # in a notebook
_NOT_COLUMNS = ("query", "extra", "outlines", "table", "scene")
_MAP_PIXELS, _NOTEBOOK_PIXELS = 1168, 868  # across


@dataclass(frozen=True, slots=True)
class Neighbors:
    """Places like some examples, most similar first; one array a column, ``answer["name"]`` for any of them.

    Attributes
    ----------
    rank : (n,) int64
        1 for the most similar.
    cell : (n,) uint64
        H3 cells.
    lon, lat : (n,) float64
        Their centres, degrees.
    similarity : (n,) float32
        Inner product of the stored vector with the query's, in [-1, 1].
    percentile : (n,) float64
        Share of random pairs of land cells that are less alike, per cent.
    distance_km : (n,) float64
        Great-circle distance to the nearest example.
    nearest_city, country : (n,) str
        The nearest city of more than 15,000 people, and the country it lies in.
    query : dict
        What was asked, and how it was answered.
    extra : dict of (n,) array
        Columns that only some answers have; they follow those above.
    outlines : sequence of dict, optional
        GeoJSON geometries to draw instead of the points.
    table : pyarrow.Table or None
        The columns of the user's table that the places come from, n rows. They follow the others everywhere; one with
        a name of ours is called ``table_NAME`` there.
    scene : Scene or None
        What a map shows beside the places.
    """

    rank: NDArray[np.int64]
    cell: Cells
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    similarity: NDArray[np.float32]
    percentile: NDArray[np.float64]
    distance_km: NDArray[np.float64]
    nearest_city: NDArray[np.object_]
    country: NDArray[np.object_]
    query: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)
    outlines: Sequence[dict[str, Any]] | None = None
    table: "pa.Table | None" = None
    scene: Scene | None = field(default=None, repr=False)

    @classmethod
    def at(
        cls,
        cell: Cells,
        lon: NDArray[np.float64],
        lat: NDArray[np.float64],
        *,
        similarity: NDArray[np.float32],
        percentile: NDArray[np.float64],
        distance_km: NDArray[np.float64],
        query: dict[str, Any],
        extra: dict[str, NDArray[Any]] | None = None,
        outlines: Sequence[dict[str, Any]] | None = None,
        table: "pa.Table | None" = None,
    ) -> Self:
        """Return places in their order, with rank, nearest city and country filled in."""
        names, countries = nearest_cities(lon, lat)
        return cls(
            rank=np.arange(1, cell.size + 1),
            cell=cell,
            lon=lon,
            lat=lat,
            similarity=similarity,
            percentile=percentile,
            distance_km=distance_km,
            nearest_city=np.array(names, dtype=object),
            country=np.array(countries, dtype=object),
            query=query,
            extra=extra or {},
            outlines=outlines,
            table=table,
        )

    def __len__(self) -> int:
        return int(self.rank.size)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column by name."""
        return self.columns()[name]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return every column by name, in order; of the table's, those with values missing as objects, with None."""
        return self._ours() | {name: _array(column) for name, column in self._theirs().items()}

    def rows(self) -> Iterator[Row]:
        """Yield one dictionary a place."""
        columns = {name: values.tolist() for name, values in self._ours().items()}
        columns["similarity"] = [
            float(str(value)) for value in self.similarity
        ]  # the shortest text that is this float32
        columns |= {name: column.to_pylist() for name, column in self._theirs().items()}
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def features(self, geometry: Geometry | None = None) -> Iterator[Row]:
        """Yield one dictionary a place, as :meth:`rows` does, and what to draw as ``geometry`` where that is no point.

        Parameters
        ----------
        geometry : {"point", "polygon"}, optional
            The point; or the outline, if there are any, else the cell's boundary. By default the outline or the point.
        """
        if _checked(geometry) == "point" or (geometry is None and self.outlines is None):
            yield from self.rows()
            return
        import shapely

        outlines = map(shapely.geometry.mapping, self._polygons()) if self.outlines is None else self.outlines
        for row, outline in zip(self.rows(), outlines, strict=True):
            yield row | {"geometry": outline}

    def explanations(self) -> list[str]:
        """Return a sentence for each place that says how it is like the example, and how it is not."""
        differing = {name.removesuffix("_sd"): name for name in self._theirs() if name.endswith("_sd")}
        return [self._explanation(row, differing) for row in self.rows()]

    def _explanation(self, row: Row, differing: dict[str, str]) -> str:
        place = f"{row['rank']}. {row['nearest_city']}, {row['country']}"
        said = [f"{place}: {row['percentile']:.2f} % of random pairs of land are less alike"]
        examples = [f"{row[name]:.3f} to {name.replace('_', ' ')}" for name in self.extra if _is_example(name)]
        if examples:
            said.append(f"similarity {', '.join(examples)}")
        apart = {name: row[column] for name, column in differing.items() if row[column] is not None}
        if apart:
            most = sorted(apart, key=lambda name: -abs(apart[name]))
            said.append(f"beside the example, {', '.join(f'{name} {apart[name]:+.2f} sd' for name in most)}")
        return "; ".join(said) + "."

    def to_arrow(self, *, geometry: Geometry | None = None) -> "pa.Table":
        """Return an Arrow table; ``query`` is in its schema metadata, as JSON.

        Parameters
        ----------
        geometry : {"point", "polygon"}, optional
            Adds a last column ``geometry`` of WKB, as :meth:`features` has it, so that Parquet written of the table is
            GeoParquet 1.1.
        """
        import pyarrow as pa

        # Text gets its type said: where there is no answer, there is nothing to infer it from.
        columns = {
            name: pa.array(values, type=pa.string() if values.dtype == object else None)
            for name, values in self._ours().items()
        }
        table = pa.table(columns | self._theirs())
        table = table.replace_schema_metadata({"satclip_index": json.dumps(self.query)})
        return table if _checked(geometry) is None else self._drawn(table, geometry)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Export the columns to any library that takes Arrow, as ``polars.DataFrame(answer)`` does."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_pandas(self) -> "pd.DataFrame":
        """Return a pandas data frame (pandas must be installed)."""
        return self.to_arrow().to_pandas()

    def to_geopandas(self, geometry: Geometry = "point") -> "gpd.GeoDataFrame":
        """Return a GeoPandas data frame (geopandas must be installed), drawn as :meth:`features` says."""
        import geopandas

        return geopandas.GeoDataFrame.from_arrow(self.to_arrow(geometry=geometry))

    def to_geojson(self, *, geometry: Geometry | None = None) -> dict[str, Any]:
        """Return a GeoJSON FeatureCollection, drawn as :meth:`features` says."""
        text = io.StringIO()
        write_rows(self.features(geometry), text, kind="geojson", query=self.query)
        collection: dict[str, Any] = json.loads(text.getvalue())
        return collection

    def picture(self, *, bounds: Bounds = WORLD, width: int = _MAP_PIXELS) -> Picture:
        """Return what a map of the answer shows, to be drawn by any means; as :meth:`plot` has them."""
        bounds = check_bounds(bounds)
        width, height = pixels_of(bounds, width)
        scene, heat, scale, res = self.scene, None, None, ""
        if scene is not None:
            seen = heat_map(scene.atlas, scene.query, bounds, width, height, land_only=scene.land_only)
            heat, scale = seen.similarity, Scale(scene.atlas.manifest.entry(scene.res))
            res = f"Colours: cells of res {seen.res}, encoder {scene.atlas.manifest.encoder['name']}. "
        examples = scene.examples if scene else ()
        return Picture(
            title_of(self.query, examples),
            subtitle_of(self.query, len(self)),
            f"{res}Coasts and borders: Natural Earth.",
            bounds,
            width,
            height,
            heat,
            scale,
            examples=examples,
            lon=self.lon,
            lat=self.lat,
            names=[f"{city}, {country}" for city, country in zip(self.nearest_city, self.country, strict=True)],
            details=[
                f"similarity {alike:.3f}, {km:,.0f} km away"
                for alike, km in zip(self.similarity, self.distance_km, strict=True)
            ],
            regions=tuple(line for outline in self.outlines or () for line in lines_of_geojson(outline)),
            areas=scene.areas if scene else (),
        )

    def plot(self, *, bounds: Bounds = WORLD, width: int = _MAP_PIXELS) -> "Map":
        """Return a map of the answer, over how alike the Earth is: a matplotlib figure, which a notebook shows.

        Parameters
        ----------
        bounds : (west, south, east, north)
            Degrees; by default the world.
        width : int
            Pixels of the map across; down, where it is taller than wide.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        check_extra("matplotlib", "map")
        from ..maps.matplotlib_map import draw

        return draw(self.picture(bounds=bounds, width=width))

    def save_map(self, path: str | Path, *, bounds: Bounds = WORLD) -> None:
        """Write a map of the answer: PNG or SVG, or HTML that can be moved and zoomed and needs no network.

        Raises
        ------
        OutputError, MissingExtraError
            If the file's name ends otherwise, or it cannot be written; if what draws it is not installed.
        """
        path = Path(path)
        check_map_path(path)
        picture = self.picture(bounds=bounds)
        if path.suffix.lower() == ".html":
            from ..maps.bokeh_map import page_of

            drawn = page_of(picture, self._table_html())
        else:
            from ..maps.matplotlib_map import file_of

            drawn = file_of(picture, path.suffix.lower())
        try:
            with replacing(path) as partial:
                partial.write_bytes(drawn)
        except OSError as error:
            raise OutputError(f"{path} could not be written: {one_line(error)}.") from None

    def _repr_html_(self) -> str:
        return self._map_html() + self._table_html()

    def _table_html(self) -> str:
        shown = ["rank", "nearest_city", "country", "similarity", "percentile", "distance_km", "lon", "lat"]
        more = len(self) - _SHOWN_ROWS
        note = f"... and {more:,} more" if more > 0 else ""
        return html_table(islice(self.rows(), _SHOWN_ROWS), [*shown, *self.extra, *self._theirs()], note=note)

    def _map_html(self) -> str:
        """Return a map for a notebook; nothing where matplotlib, or the atlas, is not there."""
        try:
            figure = self.plot(width=_NOTEBOOK_PIXELS)
        except (SatclipIndexError, ImportError):
            return ""
        return png_html(figure.png())

    def _drawn(self, table: "pa.Table", geometry: Geometry | None) -> "pa.Table":
        """Return the table with a column of what is to be drawn."""
        from ..storage.geoparquet import with_geometry, wkb_points

        if geometry == "point":
            bounds = (self.lon.min(), self.lat.min(), self.lon.max(), self.lat.max()) if len(self) else None
            return with_geometry(table, wkb_points(self.lon, self.lat), ["Point"], bounds)
        import pyarrow as pa
        import shapely

        shapes = self._polygons()
        wkb = pa.array(shapely.to_wkb(shapes, byte_order=1), type=pa.binary())
        kinds = sorted({shape.geom_type for shape in shapes})
        return with_geometry(table, wkb, kinds, shapely.total_bounds(shapes) if len(self) else None)

    def _polygons(self) -> NDArray[np.object_]:
        """Return the outlines, or the boundaries of the cells, as shapes."""
        import shapely

        if self.outlines is not None:
            return np.array([shapely.geometry.shape(outline) for outline in self.outlines], dtype=object)
        shapes: NDArray[np.object_] = shapely.from_wkb(np.array(cell_polygons(self.cell).to_pylist(), dtype=object))
        return shapes

    def _ours(self) -> dict[str, NDArray[Any]]:
        ours = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _NOT_COLUMNS}
        return ours | self.extra

    def _theirs(self) -> "dict[str, pa.ChunkedArray]":
        """Return the columns of the table, by names that are neither ours nor each other's, in any case."""
        if self.table is None:
            return {}
        taken = {"geometry", *self.extra, *(item.name for item in fields(self))}
        named = {}
        for name, column in zip(self.table.column_names, self.table.columns, strict=True):
            while name.lower() in taken:
                name = f"table_{name}"
            taken.add(name.lower())
            named[name] = column
        return named


def _is_example(name: str) -> bool:
    return name.startswith(("like_", "unlike_"))


def _array(column: "pa.ChunkedArray") -> NDArray[Any]:
    """Return an Arrow column as an array: of numbers if all are there, else of objects."""
    if column.null_count == 0 and str(column.type).startswith(("int", "uint", "float", "double")):
        numbers: NDArray[Any] = np.from_dlpack(column.combine_chunks())
        return numbers
    return np.fromiter(column.to_pylist(), dtype=object, count=len(column))


def _checked(geometry: Geometry | None) -> Geometry | None:
    if geometry is not None and geometry not in GEOMETRIES:
        raise QueryError(f"{geometry!r} is no way to draw a place; expected {' or '.join(GEOMETRIES)}.")
    return geometry
