"""Arrow's text functions with Python text, which pyarrow itself converts by way of importing pandas."""

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


def strings(values: Iterable[str | None]) -> "pa.StringArray":
    """Return texts as an Arrow array, None as NULL."""
    import pyarrow as pa

    texts = list(values)
    valid = np.array([text is not None for text in texts], bool)
    encoded = [(text or "").encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    buffers = [booleans(valid).buffers()[1], pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


@lru_cache(1024)
def string(value: str) -> "pa.StringScalar":
    """Return one text as an Arrow scalar."""
    return strings([value])[0]


def concatenated(*parts: "pa.StringArray | str", between: str = "", missing: str | None = None) -> "pa.StringArray":
    """Return texts put together, row by row; a row with a NULL is NULL, unless another text stands for it."""
    import pyarrow.compute as pc

    columns = [string(part) if isinstance(part, str) else part for part in parts]
    rule = {"null_handling": "replace", "null_replacement": missing} if missing is not None else {}
    return pc.binary_join_element_wise(*columns, string(between), **rule)


def only_where(condition: "pa.BooleanArray", values: "pa.Array") -> "pa.Array":
    """Return values where a condition holds, NULL elsewhere."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(condition, values, pa.nulls(1, values.type)[0])


def booleans(values: NDArray[np.bool_]) -> "pa.BooleanArray":
    """Return a NumPy mask as an Arrow array."""
    import pyarrow as pa

    bits = np.packbits(values, bitorder="little").tobytes()
    return pa.Array.from_buffers(pa.bool_(), values.size, [None, pa.py_buffer(bits)])


def zero_for_null(values: "pa.Array") -> "pa.Array":
    """Return numbers with 0 where they are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    zero = pa.Array.from_buffers(values.type, 1, [None, pa.py_buffer(bytes(8))])[0]
    return pc.fill_null(values, zero) if values.null_count else values
