"""A stream of Arrow batches written as csv, jsonl, json, geojson or parquet, in memory that does not grow."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import OutputError
from ..storage.atomic import atomic_file
from ..storage.geoparquet import geo_metadata
from ._parquet_writer import write_parquet
from .columns import WKB, marked
from .rows import FORMATS, SUFFIXES
from .text import Batches, write_text

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Geometries:
    """Columns of WKB: the ``primary`` one, the table's own ``other``, and the type of those that were added.

    ``projected`` says that the table's own is in other coordinates than degrees.
    """

    primary: str | None = None
    other: str | None = None
    kind: str | None = None
    projected: bool = False

    @property
    def names(self) -> set[str]:
        """All there are."""
        return {name for name in (self.primary, self.other) if name}

    def metadata(self) -> dict[str, Any]:
        """Return what GeoParquet wants said of them; of the table's own the types are not known."""
        if self.primary is None:
            return {}
        own = geo_metadata([self.kind, f"Multi{self.kind}"] if self.kind == "Polygon" else [self.kind or ""])
        other = geo_metadata([])["columns"]["geometry"] | ({"crs": None} if self.projected else {})
        columns = dict.fromkeys(self.names, other)
        if self.kind:
            columns[self.primary] = own["columns"]["geometry"]
        return {"geo": json.dumps(own | {"primary_column": self.primary, "columns": columns})}


def format_of(target: str | Path | IO[bytes], format: str | None) -> str:
    """Return the format asked for, or what the name of a file says; raise OutputError where there is none."""
    suffix = Path(target).suffix.lower() if isinstance(target, str | Path) else ""
    kind = format or SUFFIXES.get(suffix)
    if kind not in FORMATS:
        wrong = f"{format!r} is not a format" if format else f"The name {target} implies no format"
        raise OutputError(f"{wrong}; expected one of {', '.join(FORMATS)}.")
    return kind


@contextmanager
def whole_file(path: Path, source: str) -> Iterator[IO[bytes]]:
    """Yield a file that takes its name when it is complete; ``source`` is what must not be overwritten."""
    same = False
    with suppress(OSError, ValueError):  # what is wrong with a path is raised when it is written
        same = path.samefile(source)
    if same:
        raise OutputError(f"{path} is the table that is read; name another file with -o.")
    with atomic_file(path) as file:
        yield file


def write_batches(
    schema: "pa.Schema",
    batches: Batches,
    file: IO[bytes],
    kind: str,
    geometries: Geometries,
    halves: Mapping[str, int],
) -> None:
    """Write a stream of batches in a format.

    Parameters
    ----------
    schema : pyarrow.Schema
        Of every batch.
    batches : function
        Given what to do with each batch, yields what came of it, in order.
    file : binary file
    kind : {"csv", "jsonl", "json", "geojson", "parquet"}
    geometries : Geometries
        Which columns are WKB.
    halves : mapping of str to int
        As :func:`write_parquet` has them.
    """
    import pyarrow as pa

    if kind == "parquet":
        metadata = {**(schema.metadata or {}), **geometries.metadata()}
        write_parquet(schema.with_metadata(metadata), batches, file, halves)
    else:
        fields = [marked(field, WKB) if field.name in geometries.names else field for field in schema]
        plain = pa.schema(fields)

        def plainly(then: Callable[[pa.RecordBatch], Any]) -> Iterator[Any]:
            return batches(lambda batch: then(batch.cast(plain)))

        write_text(plain, plainly, file, kind, geometry=geometries.primary)
