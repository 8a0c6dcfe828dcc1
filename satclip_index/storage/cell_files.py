"""The Parquet files of an atlas: GeoParquet 1.1 with one row per cell, sorted by cell."""

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

PARQUET_BYTES_PER_ROW = 430  # measured on embeddings of 256 dimensions at res 4
_ROW_GROUP_ROWS = 4_096  # DuckDB decodes a whole group to look up one cell; larger groups do not compress better


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
        The file; it is written atomically.
    cells : (n,) uint64
        Ascending.
    lon, lat : (n,) float64
        Centers of the cells, in degrees.
    land : (n,) bool
        Whether each center is on land.
    norm : (n,) float32
        Length of each raw embedding.
    embedding : (n, dim) float32
        Unit vectors, rounded to half precision.
    described : dict
        Description of the embeddings, for the key ``emb`` of the footer.
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
    """Return the columns of one shard, as for :func:`write_shard`, and the description from its footer.

    ``embedding`` is (n, dim). ``geometry`` is not returned; it must equal the points of ``lon`` and ``lat``.

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
    schema = file.schema_arrow
    if not schema.equals(expected):
        raise CorruptAtlasError(f"{path} has the columns {_types(schema)}; expected {_types(expected)}.")
    try:
        table = file.read().combine_chunks()
        described = json.loads(schema.metadata[b"emb"])
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
    """Return shards below ``root`` as a pyarrow dataset, with column ``res`` from the name of their folder."""
    import pyarrow.dataset as ds

    by_folder = ds.partitioning(pa.schema([("res", pa.uint8())]), flavor="hive")
    return ds.dataset([str(path) for path in paths], partitioning=by_folder, partition_base_dir=str(root))


def stream_columns(
    paths: Sequence[Path], columns: Sequence[str] | None = None, *, land: bool | None = None
) -> pa.RecordBatchReader:
    """Return a stream of columns of several shards, in row order; about ten thousand rows are in memory at a time.

    Parameters
    ----------
    paths : sequence of Path
        At least one.
    columns : sequence of str, optional
        Names, in the order of the result; by default all but ``geometry``.
    land : bool, optional
        Only land cells if True, only ocean cells if False.

    Raises
    ------
    QueryError
        If a column does not exist.
    CorruptAtlasError
        If a file cannot be read: immediately for the first file, for others when the stream reaches them.
    """
    stored = _open(paths[0]).schema_arrow
    names = [name for name in stored.names if name != "geometry"] if columns is None else list(columns)
    if unknown := [name for name in names if name not in stored.names]:
        raise QueryError(f"Cells have no column {unknown[0]!r}; they have {', '.join(stored.names)}.")
    fields = [geometry_field() if name == "geometry" else stored.field(name) for name in names]
    metadata = {"geo": json.dumps(geo_metadata(["Point"]))} if "geometry" in names else None
    schema = pa.schema(fields, metadata)
    needed = names if land is None else list(dict.fromkeys([*names, "land"]))

    def batches() -> Iterator[pa.RecordBatch]:
        for path in paths:
            try:
                for batch in _open(path).iter_batches(_ROW_GROUP_ROWS, columns=needed):
                    if land is not None:
                        batch = batch.filter(pa.array(_numpy(batch["land"]) == land))
                    yield pa.RecordBatch.from_arrays([batch[name] for name in names], schema=schema)
            except (pa.ArrowException, OSError, KeyError) as error:
                raise CorruptAtlasError.unreadable(path, error) from None

    return pa.RecordBatchReader.from_batches(schema, batches())


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)  # pq.read_table would import pyarrow.dataset and pandas
    except (pa.ArrowException, OSError) as error:
        raise CorruptAtlasError.unreadable(path, error) from None


def _numpy(column: pa.Array) -> NDArray[Any]:
    """Return a column without missing values as NumPy; pyarrow's ``to_numpy`` would import pandas."""
    if column.type != pa.bool_():
        return np.from_dlpack(column)
    bits = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return np.unpackbits(bits, bitorder="little")[column.offset : column.offset + len(column)].astype(bool)
