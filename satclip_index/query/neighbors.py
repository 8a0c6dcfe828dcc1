"""The answer to a question: places as columns, one row per place."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import QueryError, SatclipIndexError, check_extra
from ..formats.arrow import strings
from ..formats.columns import CELL, marked
from ..formats.rows import GEOMETRIES, Geometry, Row, plain_rows
from ..formats.text import write_table_text
from ..geo.cell_polygons import cell_polygons
from ..geo.gazetteer import nearest_cities
from ..geo.grid import Cells
from ..maps.captions import subtitle_of, title_of
from ..maps.color_scale import Scale
from ..maps.heatmap import WORLD, MapView, heat_map
from ..maps.map_contents import BoundingBox, Picture, check_map_path, lines_of_geojson
from ..storage.atomic import atomic_file
from ..storage.manifest import ResolutionEntry
from ._map_context import MapContext
from .notebook_html import html_table, png_html

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import pyarrow as pa

    from ..maps.matplotlib_map import Map

_SHOWN_ROWS = 60  # in a notebook
_NOT_COLUMNS = ("query", "extra", "outlines", "table", "scene")
_MAP_PIXELS, _NOTEBOOK_PIXELS = 1168, 868  # across


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Places that a search found, most similar first.

    Attributes
    ----------
    cell : (n,) uint64
        H3 cells.
    lon, lat : (n,) float64
        Degrees: the center of the cell, or the point of a table's row.
    similarity : (n,) float32
        Inner product of stored vectors, in [-1, 1].
    distance_km : (n,) float64
        Great-circle distance to the nearest example.
    """

    cell: Cells
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    similarity: NDArray[np.float32]
    distance_km: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The resulting places, most similar first, as one array per column; ``answer["name"]`` returns any column.

    Attributes
    ----------
    rank : (n,) int64
        1 for the most similar.
    cell : (n,) uint64
        H3 cells.
    lon, lat : (n,) float64
        Centers of the cells, or points of a table's rows, in degrees.
    similarity : (n,) float32
        Inner product of the stored vector and the query vector, in [-1, 1].
    percentile : (n,) float64
        Percentage of random pairs of land cells that are less similar.
    distance_km : (n,) float64
        Great-circle distance to the nearest example.
    nearest_city, country : (n,) str
        The nearest city of more than 15,000 people, and its country.
    query : dict
        A description of the question and of the search.
    extra : dict of (n,) array
        Further columns of some answers, after those above.
    outlines : sequence of dict, optional
        GeoJSON geometries to draw instead of the points.
    table : pyarrow.Table or None
        The columns of the user's table, n rows, after all others. If a name is already taken, the column is called
        ``table_NAME``.
    scene : MapContext or None
        The question, as a map of the places needs it.
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
    scene: MapContext | None = field(default=None, repr=False)

    @classmethod
    def from_matches(
        cls,
        matches: Matches,
        entry: ResolutionEntry,
        query: dict[str, Any],
        *,
        extra: dict[str, NDArray[Any]] | None = None,
        outlines: Sequence[dict[str, Any]] | None = None,
        table: "pa.Table | None" = None,
        scene: MapContext | None = None,
    ) -> Self:
        """Return matches in their order, with rank, percentile, nearest city and country added.

        Parameters
        ----------
        matches : Matches
        entry : ResolutionEntry
            The resolution that was searched: its random pairs give the percentiles.
        query, extra, outlines, table, scene :
            As in the class.
        """
        cities, countries = nearest_cities(matches.lon, matches.lat)
        return cls(
            rank=np.arange(1, matches.cell.size + 1),
            cell=matches.cell,
            lon=matches.lon,
            lat=matches.lat,
            similarity=matches.similarity,
            percentile=entry.percentile(matches.similarity),
            distance_km=matches.distance_km,
            nearest_city=np.array(cities, dtype=object),
            country=np.array(countries, dtype=object),
            query=query,
            extra=extra or {},
            outlines=outlines,
            table=table,
            scene=scene,
        )

    def __len__(self) -> int:
        return int(self.rank.size)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column by name."""
        return self.columns()[name]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return every column by name, in order; columns of the table with NULLs are object arrays with None."""
        return self._own_columns() | {name: _array(column) for name, column in self._table_columns().items()}

    def rows(self) -> Iterator[Row]:
        """Yield one dictionary per place."""
        columns = {name: values.tolist() for name, values in self._own_columns().items()}
        columns["similarity"] = [
            float(str(value)) for value in self.similarity
        ]  # the shortest text that is this float32
        columns |= {name: column.to_pylist() for name, column in self._table_columns().items()}
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def explanations(self) -> list[str]:
        """Return a sentence for each place about its similarity to the examples, and its differences from them."""
        differences = {name.removesuffix("_sd"): name for name in self._table_columns() if name.endswith("_sd")}
        return [self._explanation(row, differences) for row in self.rows()]

    def _explanation(self, row: Row, differences: dict[str, str]) -> str:
        place = f"{row['rank']}. {row['nearest_city']}, {row['country']}"
        parts = [f"{place}: {row['percentile']:.2f} % of random pairs of land are less alike"]
        examples = [f"{row[name]:.3f} to {name.replace('_', ' ')}" for name in self.extra if _is_example(name)]
        if examples:
            parts.append(f"similarity {', '.join(examples)}")
        deviation = {name: row[column] for name, column in differences.items() if row[column] is not None}
        if deviation:
            by_size = sorted(deviation, key=lambda name: -abs(deviation[name]))
            parts.append(f"beside the example, {', '.join(f'{name} {deviation[name]:+.2f} sd' for name in by_size)}")
        return "; ".join(parts) + "."

    def to_arrow(self, *, geometry: Geometry | None = None) -> "pa.Table":
        """Return an Arrow table; ``query`` is in its schema metadata, as JSON.

        Parameters
        ----------
        geometry : {"point", "polygon"}, optional
            Add a last column ``geometry`` of WKB, as in :meth:`to_geojson`; Parquet written from the table is then
            GeoParquet 1.1.
        """
        import pyarrow as pa

        from ..storage.geoparquet import arrow_array

        columns = {
            name: strings(values) if values.dtype == object else arrow_array(values)
            for name, values in self._own_columns().items()
        }
        table = pa.table(columns | self._table_columns())
        for i, name in enumerate(columns):
            if name == "cell" or name.endswith("_cell"):
                table = table.set_column(i, marked(table.field(i), CELL), table.column(i))
        table = table.replace_schema_metadata({"satclip_index": json.dumps(self.query)})
        return table if _check_geometry(geometry) is None else self._with_geometry(table, geometry)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Export the columns to any library that takes Arrow, as ``polars.DataFrame(answer)`` does."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_pandas(self) -> "pd.DataFrame":
        """Return a pandas data frame (pandas must be installed)."""
        return self.to_arrow().to_pandas()

    def to_geopandas(self, geometry: Geometry = "point") -> "gpd.GeoDataFrame":
        """Return a GeoPandas data frame (geopandas must be installed); ``geometry`` as in :meth:`to_geojson`."""
        import geopandas

        return geopandas.GeoDataFrame.from_arrow(self.to_arrow(geometry=geometry))

    def to_geojson(self, *, geometry: Geometry | None = None) -> dict[str, Any]:
        """Return a GeoJSON FeatureCollection.

        Parameters
        ----------
        geometry : {"point", "polygon"}, optional
            The point; or the outline of a region, or else the boundary of the cell. By default the outline or the
            point.
        """
        text = io.BytesIO()
        self.write_text(text, "geojson", geometry=geometry)
        collection: dict[str, Any] = json.loads(text.getvalue())
        return collection

    def write_text(self, file: IO[bytes], kind: str, *, geometry: Geometry | None = None) -> None:
        """Write the places to a binary file as UTF-8 text.

        Parameters
        ----------
        file : binary file
        kind : {"csv", "jsonl", "json", "geojson"}
            JSON and GeoJSON include ``query``; only GeoJSON includes geometries.
        geometry : {"point", "polygon"}, optional
            As in :meth:`to_geojson`.
        """
        default: Geometry = "point" if self.outlines is None else "polygon"
        shape = _check_geometry(geometry) or default
        if kind == "geojson" and shape == "polygon":
            table = self.to_arrow(geometry="polygon")
            write_table_text(table, file, kind, query=self.query, geometry="geometry")
        else:
            write_table_text(self.to_arrow(), file, kind, query=self.query)

    def picture(self, *, bounds: BoundingBox = WORLD, width: int = _MAP_PIXELS) -> Picture:
        """Return the contents of a map of the places, to be drawn by any library; parameters as in :meth:`plot`."""
        view = MapView.fit(bounds, width)
        context, similarity, scale, colors = self.scene, None, None, ""
        if context is not None:
            heat = heat_map(context.atlas, context.query, view, land_only=context.land_only)
            similarity, scale = heat.similarity, Scale(context.atlas.manifest.entry(context.res))
            colors = f"Colours: cells of res {heat.res}, encoder {context.atlas.manifest.encoder['name']}. "
        examples = context.examples if context else ()
        return Picture(
            title_of(self.query, examples),
            subtitle_of(self.query, len(self)),
            f"{colors}Coasts and borders: Natural Earth.",
            view.bounds,
            view.width,
            view.height,
            similarity,
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
            areas=context.areas if context else (),
        )

    def plot(self, *, bounds: BoundingBox = WORLD, width: int = _MAP_PIXELS) -> "Map":
        """Return a map of the places over the similarity of the Earth: a matplotlib figure, which a notebook shows.

        Parameters
        ----------
        bounds : (west, south, east, north)
            Degrees; by default the world.
        width : int
            Longer side of the map, in pixels.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        check_extra("matplotlib", "map")
        from ..maps.matplotlib_map import draw

        return draw(self.picture(bounds=bounds, width=width))

    def save_map(self, path: str | Path, *, bounds: BoundingBox = WORLD) -> None:
        """Write a map of the places: PNG, SVG, or an interactive HTML page that works offline.

        Raises
        ------
        OutputError, MissingExtraError
            If the file has another suffix or cannot be written; if the library that draws it is not installed.
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
        with atomic_file(path) as file:
            file.write(drawn)

    def _repr_html_(self) -> str:
        return self._map_html() + self._table_html()

    def _table_html(self) -> str:
        shown = ["rank", "nearest_city", "country", "similarity", "percentile", "distance_km", "lon", "lat"]
        more = len(self) - _SHOWN_ROWS
        note = f"... and {more:,} more" if more > 0 else ""
        return html_table(
            islice(plain_rows(self.to_arrow()), _SHOWN_ROWS), [*shown, *self.extra, *self._table_columns()], note=note
        )

    def _map_html(self) -> str:
        """Return a map for a notebook, or an empty string without matplotlib or the atlas."""
        try:
            figure = self.plot(width=_NOTEBOOK_PIXELS)
        except (SatclipIndexError, ImportError):
            return ""
        return png_html(figure.png())

    def _with_geometry(self, table: "pa.Table", geometry: Geometry | None) -> "pa.Table":
        """Return the table with a column of geometries."""
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
        """Return the outlines, or else the boundaries of the cells, as shapely geometries."""
        import shapely

        if self.outlines is not None:
            return np.array([shapely.geometry.shape(outline) for outline in self.outlines], dtype=object)
        shapes: NDArray[np.object_] = shapely.from_wkb(np.array(cell_polygons(self.cell).to_pylist(), dtype=object))
        return shapes

    def _own_columns(self) -> dict[str, NDArray[Any]]:
        columns = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _NOT_COLUMNS}
        return columns | self.extra

    def _table_columns(self) -> "dict[str, pa.ChunkedArray]":
        """Return the columns of the table under names that are unique in the answer, ignoring case."""
        if self.table is None:
            return {}
        taken = {"geometry", *self.extra, *(item.name for item in fields(self))}
        columns = {}
        for name, column in zip(self.table.column_names, self.table.columns, strict=True):
            while name.lower() in taken:
                name = f"table_{name}"
            taken.add(name.lower())
            columns[name] = column
        return columns


def _is_example(name: str) -> bool:
    return name.startswith(("like_", "unlike_"))


def _array(column: "pa.ChunkedArray") -> NDArray[Any]:
    """Return an Arrow column as an array, of objects unless it is numeric without NULLs."""
    if column.null_count == 0 and str(column.type).startswith(("int", "uint", "float", "double")):
        numbers: NDArray[Any] = np.from_dlpack(column.combine_chunks())
        return numbers
    return np.fromiter(column.to_pylist(), dtype=object, count=len(column))


def _check_geometry(geometry: Geometry | None) -> Geometry | None:
    if geometry is not None and geometry not in GEOMETRIES:
        raise QueryError(f"{geometry!r} is no way to draw a place; expected {' or '.join(GEOMETRIES)}.")
    return geometry
