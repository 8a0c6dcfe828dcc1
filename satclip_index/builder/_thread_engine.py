"""The thread engine: shards built in parallel on this machine."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..concurrency import processors
from ..geo import grid
from ..geo.land_mask import is_land
from ._build_settings import BuildSettings, Record
from ._shards import Encode, Shard

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

_MOST_WORKERS = 8  # by default: they share one interpreter, which takes a tenth of the encoding time


def run_on_threads(settings: BuildSettings, shards: list[Shard], record: Record) -> Generator[Shard]:
    """Build shards in parallel, and yield each once it is recorded.

    On an error, or if the caller stops, shards in progress are completed.
    """
    workers = settings.workers or default_workers()
    is_land(np.zeros(1), np.zeros(1))  # loads the mask once, before the workers need it
    with shared_encoder(settings.encoder, settings.device, workers) as encode, ThreadPoolExecutor(workers) as pool:

        def work(shard: Shard) -> None:
            record(shard, settings.build(shard, encode))

        futures = {pool.submit(work, shard): shard for shard in shards}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def default_workers() -> int:
    """Return the default number of workers of one machine."""
    return min(_MOST_WORKERS, processors())


@contextmanager
def shared_encoder(encoder: "Encoder", device: str, workers: int) -> Iterator[Encode]:
    """Yield an encode function that many threads can call.

    On CPUs, shards are encoded in pieces of a few thousand cells by one pool of threads, so that a single large shard
    uses all cores, and encoding continues while another shard is written. On a GPU, shards take turns.
    """
    from ..encoder.cell_encoder import CellEncoder
    from ..encoder.deterministic import single_threaded

    cell_encoder, turn = CellEncoder(encoder, device=device), Lock()

    with single_threaded(), ThreadPoolExecutor(workers) as pool:

        def encode(cells: grid.Cells, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
            if cell_encoder.on_gpu:
                with turn:
                    return cell_encoder.encode(cells, lon, lat)
            return cell_encoder.encode(cells, lon, lat, each=pool.map)

        yield encode
