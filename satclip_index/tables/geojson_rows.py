"""GeoJSON documents of any length as rows: they are parsed piece by piece."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import TableError, one_line

GEOMETRY = "geometry"
_SUFFIXES = (".json", ".geojson", ".jsonl", ".ndjson", ".geojsonl", ".geojsons")
_ARRAYS = ("features", "rows")  # the second is in the JSON that satclip-index writes
_PIECE = 1 << 20  # characters read at a time


class _JsonReader:
    """Reads the values of a JSON text one after the other, with only a piece of the text in memory."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._text, self._at = file, "", 0
        self._decoder = json.JSONDecoder()

    def _more(self) -> bool:
        # A truncated value is parsed again with twice as much text, so that the time stays linear in its length.
        piece = self._file.read(max(_PIECE, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def peek(self) -> str:
        """Return the next character that is not whitespace, or an empty string at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n\ufeff\x1e":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, characters: str) -> bool:
        """Skip the next character if it is one of these, and return whether it was."""
        if (character := self.peek()) and character in characters:
            self._at += 1
            return True
        return False

    def value(self) -> Any:
        """Return the next value, or raise ValueError."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            if end == len(self._text) and self._more():  # a number may continue
                continue
            self._at = end
            return value


def holds_features(path: Path) -> bool:
    """Return whether a file is GeoJSON of features, or JSON with an array of rows, which DuckDB does not unnest."""
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    if path.suffix.lower().startswith(".geojson"):
        return True
    try:
        with path.open(encoding="utf-8") as file:
            array, value = next(_items(_JsonReader(file)), ("", None))
    except (ValueError, RecursionError, OSError):
        return False
    return isinstance(value, dict) and (array == "rows" or _is_feature(value))


def write_lines(path: Path, lines: Path) -> int:
    """Write every row of such a file as a line of JSON, its geometry as GeoJSON text; return the number of rows.

    Raises
    ------
    TableError
        If the file is not such a file; the error counts the valid features.
    """
    count = 0
    try:
        with path.open(encoding="utf-8") as file, lines.open("w", encoding="utf-8") as out:
            for array, value in _items(_JsonReader(file)):
                out.write(json.dumps(_row(value, feature=array != "rows")) + "\n")
                count += 1
    except (ValueError, RecursionError, OSError) as error:
        raise TableError(f"{path} is not GeoJSON of features; after {count} of them: {one_line(error)}.") from None
    return count


def _items(reader: _JsonReader) -> Iterator[tuple[str, Any]]:
    """Yield the items of the array in a document, with its name; without an array, every value of the text."""
    head: dict[str, Any] = {}
    if not reader.take("{"):
        raise ValueError("it does not begin with an object")
    while not reader.take("}"):
        name = reader.value()
        if not reader.take(":"):
            raise ValueError("a name without a value")
        if name in _ARRAYS and reader.peek() == "[":
            for value in _array(reader):
                yield name, value
            return
        head[name] = reader.value()
        if not reader.take(",") and reader.peek() != "}":
            raise ValueError("no comma between names")
    yield "", head
    while reader.peek():
        yield "", reader.value()


def _array(reader: _JsonReader) -> Iterator[Any]:
    reader.take("[")
    while not reader.take("]"):
        if not reader.peek():
            raise ValueError("it ends too early")
        yield reader.value()
        if not reader.take(",") and reader.peek() != "]":
            raise ValueError("no comma between features")


def _is_feature(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "Feature" and "geometry" in value


def _row(value: Any, *, feature: bool) -> dict[str, Any]:
    """Return the properties of a feature and its geometry, under distinct names."""
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, found {json.dumps(value)[:40]}")
    if not feature:
        return value
    if not _is_feature(value):
        raise ValueError("expected a Feature with a geometry")
    row = dict(value.get("properties") or {})
    if "id" in value and "id" not in row:
        row = {"id": value["id"]} | row
    taken = {name.lower() for name in row}
    for name in [name for name in row if name.lower() == GEOMETRY]:
        new = f"properties_{name}"
        while new.lower() in taken:
            new = f"properties_{new}"
        row[new] = row.pop(name)
    geometry = value["geometry"]
    return row | {GEOMETRY: None if geometry is None else json.dumps(geometry)}
