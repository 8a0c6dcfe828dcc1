"""The Parquet files of an atlas: GeoParquet 1.1, one row a cell, sorted."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .errors import CorruptAtlasError
from .grid import Cells

# Measured on real embeddings at res 4: what a row takes in Parquet.
PARQUET_BYTES_PER_ROW = 430
_ROW_GROUP_ROWS = 32_768


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
        Where; written as ``NAME.partial`` and renamed.
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
    partial = path.with_name(f"{path.name}.partial")
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
    partial.replace(path)


def read_columns(paths: Sequence[Path], columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return scalar columns of some shards, one array for each name, in row order.

    Raises
    ------
    CorruptAtlasError
        If a file is not the Parquet it should be.
    """
    parts: list[pa.Table] = []
    for path in paths:
        try:
            # read_table would import pyarrow.dataset, and pandas; read alone passes over a missing column.
            parts.append(pq.ParquetFile(path).read(list(columns)).select(list(columns)))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise CorruptAtlasError(
                f"{path} cannot be read: {' '.join(str(error).split())[:120]}. Build the atlas again."
            ) from None
    table = pa.concat_tables(parts)
    return {name: np.concatenate([_numpy(chunk) for chunk in table[name].chunks]) for name in columns}


def _numpy(column: pa.Array) -> NDArray[Any]:
    """Return a column without missing values; pyarrow's own way imports pandas wherever that is installed."""
    if column.type != pa.bool_():
        return np.from_dlpack(column)
    bits = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return np.unpackbits(bits, bitorder="little")[column.offset : column.offset + len(column)].astype(bool)


def write_table(table: pa.Table | pa.RecordBatchReader, target: Path | IO[bytes]) -> None:
    """Write any Arrow table or stream of batches as Parquet (zstd), to a path or an open binary file."""
    batches = table.to_reader() if isinstance(table, pa.Table) else table
    with pq.ParquetWriter(target, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def arrow_array(values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return numbers as an Arrow array, without a copy; pyarrow's own way imports pandas wherever that is installed.

    Where ``valid`` is false the value is missing.
    """
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [bits, data])


def wkb_points(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> pa.Array:
    """Encode points as little-endian WKB: byte order 1, geometry type 1, x, y (OGC 06-103r4, section 8)."""
    wkb = np.zeros(lon.size, dtype=np.dtype([("order", "u1"), ("type", "<u4"), ("x", "<f8"), ("y", "<f8")]))
    wkb["order"], wkb["type"], wkb["x"], wkb["y"] = 1, 1, lon, lat
    offsets = np.arange(lon.size + 1, dtype=np.int32) * wkb.dtype.itemsize
    return pa.Array.from_buffers(pa.binary(), lon.size, [None, pa.py_buffer(offsets), pa.py_buffer(wkb.tobytes())])


def geo_metadata(geometry_types: Sequence[str], bbox: Sequence[float] | None = None) -> dict[str, Any]:
    """Return what GeoParquet 1.1 wants said of a column ``geometry`` of WKB, under the key ``geo`` of the footer.

    Parameters
    ----------
    geometry_types : sequence of str
        Those that occur, ``Point`` or ``Polygon``.
    bbox : (west, south, east, north), optional
        Degrees; None where there are no rows.

    Returns
    -------
    dict
        To be written as JSON. A missing crs means OGC:CRS84; missing edges are straight on the map, as ours are: they
        run along the antimeridian and over the poles.
    """
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": list(geometry_types)}
    if bbox is not None:
        column["bbox"] = [float(bound) for bound in bbox]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
