"""Arrow columns as the text of CSV, JSON lines, JSON and GeoJSON, a whole column at a time.

Numbers have the fewest digits that read back as the same number, and floats keep a decimal point or an exponent. Lists,
structs and maps are JSON. NaN and infinity, which JSON lacks, are null there. Binary and H3 cells are hexadecimal.
"""

from typing import TYPE_CHECKING

import numpy as np

from ._scalar_text import cell_text, date_text, float_text, time_text, timestamp_text
from ._wkb_text import wkt_of_wkb
from .arrow import concatenated, only_where, string, strings, zero_for_null

if TYPE_CHECKING:
    import pyarrow as pa

CELL, NUMBER, JSON, WKB = b"cell", b"number", b"json", b"wkb"
"""What a field holds that its type does not show: cells as integers, numbers or JSON as text, geometries as binary."""

_KEY = b"satclip_index"  # of a field's metadata
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_RARE_ESCAPES = {chr(code): f"\\u{code:04x}" for code in range(32) if chr(code) not in _ESCAPES}


def marked(field: "pa.Field", mark: bytes) -> "pa.Field":
    """Return a field with a note of what it holds."""
    return field.with_metadata({**(field.metadata or {}), _KEY: mark})


def mark_of(field: "pa.Field") -> bytes | None:
    """Return the note of :func:`marked`, if there is one."""
    metadata: dict[bytes, bytes] = field.metadata or {}
    if metadata.get(b"ARROW:extension:name") == b"geoarrow.wkb":
        return WKB
    return metadata.get(_KEY)


def json_column(column: "pa.Array", field: "pa.Field") -> "pa.StringArray":
    """Return each value as JSON; a missing one is ``null``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column, mark = _decoded(column), mark_of(field)
    kind = column.type
    if pa.types.is_nested(kind):
        text = _nested(column, field)
    else:
        text = _scalars(column, mark)
        if mark == JSON:
            text = pc.replace_substring_regex(text, "[\r\n]+", " ")  # white space there, but the end of a line here
        elif pa.types.is_floating(kind):
            text = only_where(pc.is_finite(column), text)
        elif not (mark == NUMBER or _is_token(kind)) or mark == CELL:
            text = quoted_json(text)
    return pc.fill_null(text, string("null"))


def csv_column(column: "pa.Array", field: "pa.Field") -> "pa.StringArray":
    """Return each value as a field of CSV, NULL where it is missing; an empty string is quoted."""
    import pyarrow as pa

    column, mark = _decoded(column), mark_of(field)
    if pa.types.is_nested(column.type):
        return quoted_csv(_nested(column, field))
    text = _scalars(column, mark)
    return text if mark in (CELL, NUMBER) or _is_token(column.type) else quoted_csv(text)


def quoted_csv(text: "pa.StringArray") -> "pa.StringArray":
    """Return text as fields of CSV, quoted only where necessary (RFC 4180)."""
    import pyarrow.compute as pc

    needed = pc.or_(pc.match_substring_regex(text, '[",\r\n]'), pc.equal(text, string("")))
    if not pc.any(needed).as_py():
        return text
    doubled = pc.replace_substring(text, '"', '""')
    return pc.if_else(needed, concatenated('"', doubled, '"'), text)


def quoted_json(text: "pa.StringArray") -> "pa.StringArray":
    """Return text as JSON strings."""
    import pyarrow.compute as pc

    for escapes, pattern in ((_ESCAPES, r'["\\\x00-\x1f]'), (_RARE_ESCAPES, r"[\x00-\x1f]")):
        if not pc.any(pc.match_substring_regex(text, pattern)).as_py():
            break
        for character, escape in escapes.items():
            text = pc.replace_substring(text, character, escape)
    return concatenated('"', text, '"')


def _decoded(column: "pa.Array") -> "pa.Array":
    """Return the values of a dictionary, an extension type or a view."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return _decoded(column.storage)
    if pa.types.is_dictionary(kind):
        return _decoded(column.dictionary_decode())
    if pa.types.is_run_end_encoded(kind):
        return _decoded(pc.run_end_decode(column))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    return column


def _is_token(kind: "pa.DataType") -> bool:
    """Return whether values are numbers, true or false."""
    import pyarrow as pa

    types = pa.types
    return bool(
        types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind)
    ) or bool(types.is_null(kind))


def _scalars(column: "pa.Array", mark: bytes | None) -> "pa.StringArray":
    """Return values that are not nested as text, NULL where they are missing."""
    import pyarrow as pa

    kind, types = column.type, pa.types
    if mark == CELL and types.is_integer(kind):
        return cell_text(column)
    if mark == WKB and types.is_binary(kind):
        return wkt_of_wkb(column)
    if types.is_floating(kind):
        return float_text(column)
    if types.is_string(kind) or types.is_null(kind) or types.is_boolean(kind):
        return column.cast(pa.string())
    if types.is_integer(kind) or types.is_decimal(kind):
        return column.cast(pa.string())
    if types.is_date(kind):
        return date_text(column)
    if types.is_timestamp(kind):
        return timestamp_text(column)
    if types.is_time(kind):
        return time_text(column)
    values = column.to_pylist()
    return strings(v.hex() if isinstance(v, bytes) else None if v is None else str(v) for v in values)


def _nested(column: "pa.Array", field: "pa.Field") -> "pa.StringArray":
    """Return lists, structs and maps as JSON, NULL where they are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, types = column.type, pa.types
    if types.is_struct(kind):
        parts = ["{"]
        for i, child in enumerate(column.flatten()):
            inner = field.type.field(i)
            parts += [f"{', ' if i else ''}{json_string(inner.name)}: ", json_column(child, inner)]
        text = concatenated(*parts, "}") if kind.num_fields else strings(["{}"] * len(column))
    elif types.is_map(kind):
        keys, items, lengths = _entries(column)
        names = quoted_json(pc.fill_null(_key_text(keys, field.type.key_field), string("null")))
        pairs = concatenated(names, ": ", json_column(items, field.type.item_field))
        text = _joined(lengths, pairs, "{", "}")
    elif types.is_union(kind):
        return strings(None if value is None else str(value) for value in column.to_pylist())
    else:
        lengths = zero_for_null(pc.list_value_length(column))
        text = _joined(lengths, json_column(column.flatten(), field.type.value_field), "[", "]")
    return only_where(column.is_valid(), text)


def _key_text(keys: "pa.Array", field: "pa.Field") -> "pa.StringArray":
    import pyarrow as pa

    keys = _decoded(keys)
    return _nested(keys, field) if pa.types.is_nested(keys.type) else _scalars(keys, mark_of(field))


def _entries(column: "pa.MapArray") -> "tuple[pa.Array, pa.Array, pa.Int32Array]":
    """Return the keys and items of all maps, and how many each map has."""
    from ..storage.geoparquet import arrow_array

    offsets = np.asarray(np.from_dlpack(column.offsets), np.int64)
    lengths = zero_for_null(only_where(column.is_valid(), arrow_array(np.diff(offsets))))
    counts = np.asarray(np.from_dlpack(lengths), np.int64)
    rows = np.arange(counts.sum()) + np.repeat(offsets[:-1] - (np.cumsum(counts) - counts), counts)
    return column.keys.take(arrow_array(rows)), column.items.take(arrow_array(rows)), lengths


def _joined(lengths: "pa.Array", items: "pa.StringArray", opening: str, closing: str) -> "pa.StringArray":
    """Return so many items each between brackets."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from ..storage.geoparquet import arrow_array

    offsets = np.concatenate([[0], np.cumsum(np.from_dlpack(lengths))]).astype(np.int32)
    inner = pc.binary_join(pa.ListArray.from_arrays(arrow_array(offsets), items), string(", "))
    return concatenated(opening, inner, closing)


def json_string(text: str) -> str:
    """Return one text as a JSON string."""
    quoted: str = quoted_json(strings([text]))[0].as_py()
    return quoted
