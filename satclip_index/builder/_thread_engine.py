"""The engine of one machine: shards side by side on threads, which share the encoding of all of them."""

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
from ._job import Job, Record
from ._shards import Encode, Shard

if TYPE_CHECKING:
    from ..encoder.location_encoder import Encoder

_MOST_WORKERS = 8  # by themselves: they share one interpreter, and a tenth of encoding is its own


def on_threads(job: Job, shards: list[Shard], record: Record) -> Generator[Shard]:
    """Make shards, as many side by side as there are processors unless told, and yield each once it is recorded.

    Where that fails or the caller stops, those begun are finished.
    """
    workers = job.workers or default_workers()
    is_land(np.zeros(1), np.zeros(1))  # the mask is read once, not by every worker
    with encoding(job.encoder, job.device, workers) as encode, ThreadPoolExecutor(workers) as pool:

        def work(shard: Shard) -> None:
            record(shard, job.make(shard, encode))

        futures = {pool.submit(work, shard): shard for shard in shards}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(cancel_futures=True)


def default_workers() -> int:
    """Return how many workers one machine has unless told."""
    return min(_MOST_WORKERS, processors())


@contextmanager
def encoding(encoder: "Encoder", device: str, workers: int) -> Iterator[Encode]:
    """Yield a way to encode that many threads may use.

    On processors, a few thousand cells of whichever shard are a piece of work, so that one large shard keeps all of
    them busy, and encoding goes on while another shard is written. On a GPU, shards take turns.
    """
    from ..encoder.cell_encoder import CellEncoder
    from ..encoder.deterministic import one_thread_each

    cell_encoder, turn = CellEncoder(encoder, device=device), Lock()

    with one_thread_each(), ThreadPoolExecutor(workers) as pool:

        def encode(cells: grid.Cells, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float32]:
            if cell_encoder.on_gpu:
                with turn:
                    return cell_encoder.encode(cells, lon, lat)
            return cell_encoder.encode(cells, lon, lat, each=pool.map)

        yield encode
