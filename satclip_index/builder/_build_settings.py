"""The settings of a build that its workers need, on any machine."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..storage.manifest import library_versions
from ._shard_storage import Files, Storage
from ._shards import Encode, Shard, build_shard

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """How the shards of an atlas are built.

    Attributes
    ----------
    encoder : Encoder
    land_only : bool
        Leave out cells whose center is not on land.
    device : str
        The device to encode on.
    storage : Storage
        Where the files are kept.
    workers : int or None
        Number of shards built in parallel; None for the default of the engine.
    address : str or None
        Address of a Ray cluster.
    """

    encoder: "Encoder"
    land_only: bool
    device: str
    storage: Storage
    workers: int | None = None
    address: str | None = None

    def build(self, shard: Shard, encode: Encode) -> Files:
        """Build and store the files of a shard, and return their entries."""
        return self.storage.write(lambda root: build_shard(root, shard, self.encoder, encode, land_only=self.land_only))


Record = Callable[[Shard, Files], None]
"""Called with a shard and its files as soon as they are stored; from any thread."""

Engine = Callable[[BuildSettings, list[Shard], Record], Generator[Shard]]
"""Builds shards in parallel, and yields each once it is recorded."""


def rounding_environment() -> dict[str, Any]:
    """Return what rounding depends on, and with it the last bits of an atlas: the processor and library versions."""
    from ..encoder.devices import cpu_capability

    libraries = library_versions() | library_versions(["global-land-mask", "safetensors", "numba"])
    return {"processor": cpu_capability(), "libraries": libraries}
