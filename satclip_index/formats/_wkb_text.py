"""Geometries in WKB as GeoJSON and as WKT; points without shapely, which takes long to load."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._scalar_text import float_text
from .arrow import concatenated, only_where, strings

if TYPE_CHECKING:
    import pyarrow as pa

_POINT = np.dtype([("order", "u1"), ("type", "<u4"), ("x", "<f8"), ("y", "<f8")])  # OGC 06-103r4, section 8


def geojson_of_wkb(column: "pa.BinaryArray") -> "pa.StringArray":
    """Return geometries as GeoJSON, NULL where they are missing or no WKB."""
    import pyarrow.compute as pc

    if (points := _points(column)) is not None:
        return concatenated('{"type": "Point", "coordinates": [', points, "]}")
    import shapely

    shapes = shapely.from_wkb(np.array(column.to_pylist(), dtype=object), on_invalid="ignore")
    text = strings(shapely.to_geojson(shapes).tolist())
    return pc.replace_substring(pc.replace_substring(text, ",", ", "), ":", ": ")


def wkt_of_wkb(column: "pa.BinaryArray") -> "pa.StringArray":
    """Return geometries as WKT, NULL where they are missing or no WKB."""
    import pyarrow.compute as pc

    if (points := _points(column)) is not None:
        return concatenated("POINT (", pc.replace_substring_regex(points, r"\.0\b|,", ""), ")")
    import shapely

    shapes = shapely.from_wkb(np.array(column.to_pylist(), dtype=object), on_invalid="ignore")
    return strings(shapely.to_wkt(shapes, rounding_precision=-1).tolist())


def _points(column: "pa.BinaryArray") -> "pa.StringArray | None":
    """Return ``x, y`` of each point, or None if any value is something else."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sizes = pc.drop_null(pc.binary_length(column))
    if not len(sizes):
        return pa.nulls(len(column), pa.string())
    if not (np.from_dlpack(sizes) == _POINT.itemsize).all():
        return None
    filler = pa.Array.from_buffers(pa.binary(_POINT.itemsize), 1, [None, pa.py_buffer(bytes(_POINT.itemsize))])
    whole = pc.fill_null(column, filler.cast(pa.binary())[0])
    start = whole.offset
    offsets = np.frombuffer(whole.buffers()[1], np.int32)[start : start + len(whole) + 1]
    points: NDArray[Any] = np.frombuffer(whole.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].view(_POINT)
    valid = points["order"] == 1
    if not ((points["type"] == 1) == valid).all() or not np.isfinite([points["x"], points["y"]]).all():
        return None
    if int(valid.sum()) != len(sizes):
        return None
    x, y = (pa.py_buffer(np.ascontiguousarray(points[name])) for name in "xy")
    numbers = (pa.Array.from_buffers(pa.float64(), len(whole), [None, values]) for values in (x, y))
    return only_where(column.is_valid(), concatenated(*map(float_text, numbers), between=", "))
