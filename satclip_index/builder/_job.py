"""What workers of a build must know to make any of its shards, whichever machine they are on."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..storage.manifest import library_versions
from ._shard_storage import Files, Storage
from ._shards import Encode, Shard, build_shard

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder


@dataclass(frozen=True, slots=True)
class Job:
    """The shards of one atlas.

    Attributes
    ----------
    encoder : Encoder
    land_only : bool
        Leave out cells whose centre is not land.
    device : str
        Where to encode.
    storage : Storage
        Where the files go.
    workers : int or None
        Shards made side by side; None leaves it to the engine.
    address : str or None
        Of a Ray cluster.
    """

    encoder: "Encoder"
    land_only: bool
    device: str
    storage: Storage
    workers: int | None = None
    address: str | None = None

    def make(self, shard: Shard, encode: Encode) -> Files:
        """Make the files of a shard, keep them, and return what they are."""
        return self.storage.write(lambda root: build_shard(root, shard, self.encoder, encode, land_only=self.land_only))


Record = Callable[[Shard, Files], None]
"""Told which files a shard has, as soon as they are kept; by any thread."""

Engine = Callable[[Job, list[Shard], Record], Generator[Shard]]
"""Makes shards side by side, and yields each once it is recorded."""


def what_rounds() -> dict[str, Any]:
    """Return what the last bits of an atlas depend on at this machine."""
    from ..encoder.devices import processor

    libraries = library_versions() | library_versions(["global-land-mask", "safetensors", "numba"])
    return {"processor": processor(), "libraries": libraries}
