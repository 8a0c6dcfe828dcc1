"""Floats as text that reads back as the same float, cells in hexadecimal, dates and times as DuckDB prints them."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .arrow import booleans, concatenated, only_where, string, strings, zero_for_null

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, which Arrow prints as DuckDB does
_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def float_text(column: "pa.Array") -> "pa.StringArray":
    """Return floats as the shortest text that reads back as a float, and as the same one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    text = column.cast(pa.string())
    whole = pc.and_(pc.equal(column, pc.trunc(column)), pc.is_finite(column))
    if pc.any(whole).as_py():
        whole = pc.and_(whole, pc.invert(pc.match_substring(text, "e")))
        text = pc.if_else(whole, concatenated(text, ".0"), text)
    return text


def cell_text(column: "pa.Array") -> "pa.StringArray":
    """Return integers as lower-case hexadecimal text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    values = np.from_dlpack(zero_for_null(column))
    octets = values.astype(">u8").view(np.uint8).reshape(-1, 8)
    text = digits[np.stack([octets >> 4, octets & 15], axis=-1)].reshape(-1, 16)
    offsets = np.arange(values.size + 1, dtype=np.int32) * 16
    padded = pa.Array.from_buffers(pa.string(), values.size, [None, pa.py_buffer(offsets), pa.py_buffer(text)])
    shortened = pc.ascii_ltrim(padded, characters="0")
    return only_where(column.is_valid(), pc.if_else(pc.equal(shortened, string("")), string("0"), shortened))


def date_text(column: "pa.Array") -> "pa.StringArray":
    """Return dates as text."""
    import pyarrow as pa

    column = column.cast(pa.date32())
    days = np.from_dlpack(zero_for_null(column.cast(pa.int32())))
    far = (days < _FIRST_DAY) | (days > _LAST_DAY)
    text = only_where(booleans(~far), column).cast(pa.string())
    return _with_far(text, column, far, [_far_text(days[i], "D", 2**31 - 1) for i in np.flatnonzero(far)])


def timestamp_text(column: "pa.Array") -> "pa.StringArray":
    """Return times as text: of a zone as local time and offset."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unit, zone = column.type.unit, column.type.tz
    naive = column.cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit)) if zone else column
    ticks = np.from_dlpack(zero_for_null(naive.cast(pa.int64())))
    far = (ticks < (_FIRST_DAY + 1) * _DAY[unit]) | (ticks >= _LAST_DAY * _DAY[unit])
    if unit == "ns":
        far = np.zeros(ticks.size, bool)  # all of them are between 1677 and 2262
    near = only_where(booleans(~far), naive)
    if zone:
        local = _local(near, zone)
        moved = (local.cast(pa.int64()), near.cast(pa.int64()))
        seconds = pc.divide(pc.subtract(*moved), _DAY[unit] // 86_400)
        offsets = pc.dictionary_encode(seconds)
        named = strings(_offset(value) for value in offsets.dictionary.to_pylist())
        text = concatenated(_trimmed(local), named.take(offsets.indices))
    else:
        text = _trimmed(near)
    most, ending = 2**63 - 1, "+00" if zone else ""
    return _with_far(text, column, far, [_far_text(ticks[i], unit, most, ending) for i in np.flatnonzero(far)])


def time_text(column: "pa.Array") -> "pa.StringArray":
    """Return times of day as text."""
    return _trimmed(column)


def _trimmed(column: "pa.Array") -> "pa.StringArray":
    """Return times as text without zeros at the end of a fraction of a second."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = column.cast(pa.string())
    return text if column.type.unit == "s" else pc.replace_substring_regex(text, r"\.?0+$", "")


def _local(column: "pa.Array", zone: str) -> "pa.Array":
    """Return times in UTC as local ones; in UTC where the machine has no data of time zones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.local_timestamp(column.cast(pa.timestamp(column.type.unit, zone)))
    except pa.ArrowInvalid:
        return column


def _offset(seconds: int | None) -> str | None:
    """Return an offset from UTC with as many parts as it needs: +02, +05:30."""
    if seconds is None:
        return None
    hours, rest = divmod(abs(seconds), 3600)
    parts = [f"{hours:02d}", f"{rest // 60:02d}", f"{rest % 60:02d}"]
    while len(parts) > 1 and parts[-1] == "00":
        parts.pop()
    return ("-" if seconds < 0 else "+") + ":".join(parts)


def _far_text(value: int, unit: str, most: int, ending: str = "") -> str:
    if abs(int(value)) == most:
        return "infinity" if value > 0 else "-infinity"
    text = str(np.int64(value).astype(f"datetime64[{unit}]"))
    date, _, time = text.partition("T")
    year, month, day = date.lstrip("-").split("-")
    if date.startswith("-") or int(year) == 0:
        date = f"{(int(year) if date.startswith('-') else 0) + 1:04d}-{month}-{day} (BC)"
    if not time:
        return date
    return f"{date} {time.rstrip('0').rstrip('.') if '.' in time else time}{ending}"


def _with_far(text: "pa.StringArray", column: "pa.Array", far: NDArray[np.bool_], texts: list[str]) -> "pa.StringArray":
    """Return the texts of values that are far from today in their places."""
    import pyarrow.compute as pc

    if not texts:
        return text
    filled = pc.replace_with_mask(text, booleans(far), strings(texts))
    return only_where(column.is_valid(), filled)
