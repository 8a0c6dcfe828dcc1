"""Writing Arrow tables as Parquet and GeoParquet; points as WKB."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def write_table(table: pa.Table | pa.RecordBatchReader, target: Path | IO[bytes]) -> None:
    """Write an Arrow table or a stream of batches as Parquet (zstd), to a path or an open binary file."""
    batches = table.to_reader() if isinstance(table, pa.Table) else table
    with pq.ParquetWriter(target, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def arrow_array(values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return numbers as an Arrow array, without a copy; ``pa.array`` would import pandas.

    Values are missing where ``valid`` is false.
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


def geometry_field() -> pa.Field:
    """Return the Arrow field of a column ``geometry`` of WKB, with the metadata of GeoArrow."""
    crs = json.dumps({"crs": "OGC:CRS84", "crs_type": "authority_code"})
    metadata = {"ARROW:extension:name": "geoarrow.wkb", "ARROW:extension:metadata": crs}
    return pa.field("geometry", pa.binary(), metadata=metadata)


def with_geometry(
    table: pa.Table, wkb: pa.Array, geometry_types: Sequence[str], bbox: Sequence[float] | None
) -> pa.Table:
    """Return a table with an added column ``geometry`` and GeoParquet metadata; its other metadata are kept."""
    geo = json.dumps(geo_metadata(geometry_types, bbox))
    metadata = {**(table.schema.metadata or {}), b"geo": geo.encode()}
    return table.append_column(geometry_field(), wkb).replace_schema_metadata(metadata)


def geo_metadata(geometry_types: Sequence[str], bbox: Sequence[float] | None = None) -> dict[str, Any]:
    """Return the GeoParquet 1.1 metadata of a column ``geometry`` of WKB, for the key ``geo`` of the footer.

    Parameters
    ----------
    geometry_types : sequence of str
        The types that occur, such as ``Point`` or ``Polygon``.
    bbox : (west, south, east, north), optional
        In degrees; None if there are no rows.

    Returns
    -------
    dict
        To be written as JSON. Without ``crs``, coordinates are OGC:CRS84; without ``edges``, edges are straight lines
        on the map, as ours are along the antimeridian and over the poles.
    """
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": list(geometry_types)}
    if bbox is not None:
        column["bbox"] = [float(bound) for bound in bbox]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
