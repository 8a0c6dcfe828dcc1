"""Rows written as JSON, JSON lines, CSV, GeoJSON or Parquet."""

import csv
import json
import math
from collections.abc import Iterable, Iterator
from typing import IO, Any, Literal, get_args

from ..errors import OutputError
from ..geo.grid import cell_to_text

Format = Literal["json", "jsonl", "csv", "geojson", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)
Geometry = Literal["point", "polygon"]
GEOMETRIES: tuple[str, ...] = get_args(Geometry)
SUFFIXES = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl"}

Row = dict[str, Any]


def write_rows(rows: Iterable[Row], file: IO[str], *, kind: str, query: dict[str, Any] | None = None) -> None:
    """Write rows as text.

    Parameters
    ----------
    rows : iterable of dict
        One dictionary a row, all with the same keys.
    file : text file
        Where.
    kind : {"json", "jsonl", "csv", "geojson"}
        GeoJSON needs ``lon`` and ``lat`` in every row, or a ``geometry`` that is a GeoJSON one.
    query : dict, optional
        What was asked, kept in JSON and GeoJSON.
    """
    plain = (_plain_row(row) for row in rows)
    if kind == "jsonl":
        for row in plain:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    elif kind == "csv":
        _write_csv(plain, file)
    elif kind == "geojson":
        head = {"type": "FeatureCollection"} | ({"query": query} if query else {})
        _write_array(file, head, "features", (_feature(row) for row in plain))
    else:
        _write_array(file, {"query": query} if query else {}, "rows", plain)


def _write_array(file: IO[str], head: dict[str, Any], name: str, items: Iterator[Row]) -> None:
    """Write an object whose last key is an array, an item at a time."""
    opening = json.dumps(head | {name: []}, ensure_ascii=False).removesuffix("]}")
    file.write(opening)
    for i, item in enumerate(items):
        file.write(("," if i else "") + "\n" + json.dumps(item, ensure_ascii=False))
    file.write("\n]}\n")


def _write_csv(rows: Iterator[Row], file: IO[str]) -> None:
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)  # before Python 3.13 a lone \r gets no quotes
    for i, row in enumerate(rows):
        if i == 0:
            plain.writerow(row)
        values = [json.dumps(value) if isinstance(value, list | dict) else value for value in row.values()]
        (quoted if any("\r" in value for value in values if isinstance(value, str)) else plain).writerow(values)


def _feature(row: Row) -> dict[str, Any]:
    if isinstance(geometry := row.get("geometry"), dict) and "type" in geometry:
        properties = {name: value for name, value in row.items() if name != "geometry"}
        return {"type": "Feature", "geometry": geometry, "properties": properties}
    if row.get("lon") is None or row.get("lat") is None:
        raise OutputError(
            "GeoJSON needs columns lon and lat with a value in every row; select them, or take --format jsonl."
        )
    place = {"type": "Point", "coordinates": [row["lon"], row["lat"]]}
    properties = {name: value for name, value in row.items() if name not in ("lon", "lat", "geometry")}
    return {"type": "Feature", "geometry": place, "properties": properties}


def _plain_row(row: Row) -> Row:
    return {name: plain_value(name, value) for name, value in row.items()}


def plain_value(name: str, value: Any) -> Any:
    """Return a value as JSON can hold it: a cell as hexadecimal text, no NaN, times and the like as text."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int):
        return cell_to_text(value) if name == "cell" or name.endswith("_cell") else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain_value("", item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain_value("", item) for key, item in value.items()}
    return str(value)
