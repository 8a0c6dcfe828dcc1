"""The Parquet files of an atlas: GeoParquet 1.1, one row a cell, sorted."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import CorruptAtlasError, QueryError
from ..geo.grid import Cells
from .atomic import atomic_path
from .geoparquet import geo_metadata, geometry_field, wkb_points

# Measured on real embeddings at res 4: what a row takes in Parquet.
PARQUET_BYTES_PER_ROW = 430
_ROW_GROUP_ROWS = 4_096  # what DuckDB decodes to look one cell up; larger ones are no smaller on disk


def write_shard(
    path: Path,
    *,
    cells: Cells,
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    land: NDArray[np.bool_],
    norm: NDArray[np.float32],
    embedding: NDArray[np.float32],
    described: dict[str, Any],
) -> None:
    """Write one shard of an atlas.

    Parameters
    ----------
    path : Path
        Where; it is there whole or not at all.
    cells : (n,) uint64
        Ascending.
    lon, lat : (n,) float64
        Their centres, degrees.
    land : (n,) bool
        Whether each centre is land.
    norm : (n,) float32
        Length of the raw embedding.
    embedding : (n, dim) float32
        Unit vectors, rounded to half precision.
    described : dict
        What made them, for the ``emb`` key of the footer.
    """
    dim = embedding.shape[1]
    table = pa.table(
        {
            "cell": cells,
            "lon": lon,
            "lat": lat,
            "land": land,
            "norm": norm,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embedding.ravel()), dim),
            "geometry": wkb_points(lon, lat),
        }
    )
    bbox = (lon.min(), lat.min(), lon.max(), lat.max()) if lon.size else None
    footer = {"geo": json.dumps(geo_metadata(["Point"], bbox)), "emb": json.dumps(described, sort_keys=True)}
    table = table.replace_schema_metadata(footer)
    with atomic_path(path) as partial:
        pq.write_table(
            table,
            partial,
            compression="zstd",
            use_dictionary=False,
            row_group_size=_ROW_GROUP_ROWS,
            column_encoding={
                "cell": "DELTA_BINARY_PACKED",
                "lon": "BYTE_STREAM_SPLIT",
                "lat": "BYTE_STREAM_SPLIT",
                "norm": "BYTE_STREAM_SPLIT",
                "embedding.list.element": "BYTE_STREAM_SPLIT",
            },
        )


def read_shard(path: Path, dim: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return every column of one shard, as :func:`write_shard` took them, and what its footer says of the embeddings.

    ``embedding`` is (n, dim); ``geometry`` is not returned, but is found to be the points of ``lon`` and ``lat``.

    Raises
    ------
    CorruptAtlasError
        If the file cannot be read, or its columns are not those of an atlas.
    """
    expected = pa.schema(
        {
            "cell": pa.uint64(),
            "lon": pa.float64(),
            "lat": pa.float64(),
            "land": pa.bool_(),
            "norm": pa.float32(),
            "embedding": pa.list_(pa.float32(), dim),
            "geometry": pa.binary(),
        }
    )
    file = _open(path)
    found = file.schema_arrow
    if not found.equals(expected):
        raise CorruptAtlasError(f"{path} has the columns {_types(found)}; expected {_types(expected)}.")
    try:
        table = file.read().combine_chunks()
        described = json.loads(found.metadata[b"emb"])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptAtlasError.unreadable(path, error) from None
    if any(column.null_count for column in table.columns):
        raise CorruptAtlasError(f"{path} has missing values; an atlas has none.")
    columns = {name: _numpy(_whole(table[name])) for name in ("cell", "lon", "lat", "land", "norm")}
    columns["embedding"] = _numpy(_whole(table["embedding"]).flatten()).reshape(-1, dim)
    if not _whole(table["geometry"]).equals(wkb_points(columns["lon"], columns["lat"])):
        raise CorruptAtlasError(f"{path} has geometries that are not the points of its lon and lat.")
    return columns, described


def _whole(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _types(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def dataset_of(paths: Sequence[Path], root: Path) -> Any:
    """Return shards below ``root`` as a pyarrow dataset; their folder, ``res=R``, is a column of it."""
    import pyarrow.dataset as ds

    by_folder = ds.partitioning(pa.schema([("res", pa.uint8())]), flavor="hive")
    return ds.dataset([str(path) for path in paths], partitioning=by_folder, partition_base_dir=str(root))


def stream_columns(
    paths: Sequence[Path], columns: Sequence[str] | None = None, *, land: bool | None = None
) -> pa.RecordBatchReader:
    """Return a stream of columns of some shards, in row order; some ten thousand rows are in memory at a time.

    Parameters
    ----------
    paths : sequence of Path
        At least one.
    columns : sequence of str, optional
        Which, in their order; all but ``geometry`` if None.
    land : bool, optional
        Only rows on land, or only those at sea.

    Raises
    ------
    QueryError
        If there is no such column.
    CorruptAtlasError
        If a file is not the Parquet it should be: at once of the first file, of others when the stream comes to them.
    """
    stored = _open(paths[0]).schema_arrow
    names = [name for name in stored.names if name != "geometry"] if columns is None else list(columns)
    if unknown := [name for name in names if name not in stored.names]:
        raise QueryError(f"Cells have no column {unknown[0]!r}; they have {', '.join(stored.names)}.")
    fields = [geometry_field() if name == "geometry" else stored.field(name) for name in names]
    said = {"geo": json.dumps(geo_metadata(["Point"]))} if "geometry" in names else None
    schema = pa.schema(fields, said)
    read = names if land is None else list(dict.fromkeys([*names, "land"]))

    def batches() -> Iterator[pa.RecordBatch]:
        for path in paths:
            try:
                for batch in _open(path).iter_batches(_ROW_GROUP_ROWS, columns=read):
                    if land is not None:
                        batch = batch.filter(pa.array(_numpy(batch["land"]) == land))
                    yield pa.RecordBatch.from_arrays([batch[name] for name in names], schema=schema)
            except (pa.ArrowException, OSError, KeyError) as error:
                raise CorruptAtlasError.unreadable(path, error) from None

    return pa.RecordBatchReader.from_batches(schema, batches())


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)  # pq.read_table would import pyarrow.dataset, and pandas
    except (pa.ArrowException, OSError) as error:
        raise CorruptAtlasError.unreadable(path, error) from None


def _numpy(column: pa.Array) -> NDArray[Any]:
    """Return a column without missing values; pyarrow's own way imports pandas wherever that is installed."""
    if column.type != pa.bool_():
        return np.from_dlpack(column)
    bits = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return np.unpackbits(bits, bitorder="little")[column.offset : column.offset + len(column)].astype(bool)
