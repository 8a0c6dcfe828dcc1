"""The engine of many machines: shards side by side on Ray, one worker to a GPU or a processor."""

import os
import socket
from collections import Counter, deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ..errors import BuildError, check_extra, one_line
from ..geo.land_mask import is_land
from ._job import Job, Record, what_rounds
from ._shard_storage import Files, Storage
from ._shards import Shard
from ._thread_engine import default_workers, encoding

_ATTEMPTS = 4  # at a shard, until its workers are known to die of it
_STORE_BYTES = 1 << 28  # of a Ray that is started here: only the encoder is in it


def on_ray(job: Job, shards: list[Shard], record: Record) -> Generator[Shard]:
    """Make shards on the workers of a Ray cluster, or of a Ray that is started here, and yield each once recorded.

    A worker has one shard at a time. The shard of one that dies is given to another, a few times.

    Raises
    ------
    BuildError
        If the cluster cannot be reached, workers keep dying, or one would give other bytes than this machine.
    """
    check_extra("ray", "ray")
    with _ray(job) as ray:
        worker = _worker_class(ray, job)
        waiting, died = deque(shards), Counter[str]()
        doing: dict[Any, tuple[Any, Shard | None]] = {}

        def begin() -> None:
            new = worker()
            doing[new.check.remote()] = new, None

        for _ in range(min(_worker_count(ray, job), len(shards))):
            begin()
        try:
            left = len(shards)
            while left:
                (done,), _ = ray.wait(list(doing))
                actor, shard = doing.pop(done)
                name = shard.name if shard else "the first"
                try:
                    files: Files | None = ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, Exception) else error) from None
                except ray.exceptions.RayError as error:
                    died[name] += 1
                    if died[name] == _ATTEMPTS:
                        raise BuildError(_too_often(name, error)) from None
                    if shard:
                        waiting.appendleft(shard)
                    begin()
                    continue
                del died[name]
                if waiting:
                    following = waiting.popleft()
                    doing[actor.make.remote(following)] = actor, following
                else:
                    ray.kill(actor)  # it gives its processor back
                if shard and files is not None:
                    record(shard, files)
                    left -= 1
                    yield shard
        finally:
            for actor, _ in doing.values():
                ray.kill(actor)  # none goes on writing when the lock of the build is gone


class _Worker:
    """What runs in a process of its own, on any machine of a cluster."""

    def __init__(
        self, weights: bytes, land_only: bool, device: str, storage: Storage, expected: dict[str, Any]
    ) -> None:
        from ..encoder.location_encoder import Encoder

        with TemporaryDirectory() as folder:
            path = Path(folder) / "encoder.safetensors"
            path.write_bytes(weights)
            encoder = Encoder.load(path)
        self._job = Job(encoder, land_only, device, storage)
        self._expected, self._stack = expected, ExitStack()
        self._encode = self._stack.enter_context(encoding(encoder, device, 1))
        is_land(np.zeros(1), np.zeros(1))  # the mask is read before the first shard

    def check(self) -> None:
        """Raise BuildError if this worker would give other bytes than the machine that the build was begun on."""
        from ..encoder.devices import device_kind

        device_kind(self._job.device)
        node = os.uname().nodename
        for name, found in what_rounds().items():
            if found != self._expected[name]:
                raise BuildError(
                    f"The worker at {node} has {name} {_other(found, self._expected[name])}; the build was begun with "
                    f"{_other(self._expected[name], found)}, and the bytes would differ. Take machines that are alike."
                )
        if not self._job.storage.reachable():
            raise BuildError(
                f"The worker at {node} does not see where the atlas is being made. Build on a file system that all "
                "machines share, under the same name, or at a URL such as s3://bucket/world."
            )

    def make(self, shard: Shard) -> Files:
        """Make the files of a shard, keep them, and return what they are."""
        return self._job.make(shard, self._encode)


def _worker_class(ray: Any, job: Job) -> Any:
    """Return a function that starts a worker; what all of them need is sent once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.safetensors"
        job.encoder.save(path)
        weights = ray.put(path.read_bytes())
    remote = ray.remote(num_cpus=1, num_gpus=1 if job.device == "cuda" else 0)(_Worker)
    return lambda: remote.remote(weights, job.land_only, job.device, job.storage, what_rounds())


def _worker_count(ray: Any, job: Job) -> int:
    """Return how many workers there are to be: not more than the cluster can have."""
    unit = "GPU" if job.device == "cuda" else "CPU"
    most = int(ray.cluster_resources().get(unit, 0))
    if not most:
        raise BuildError(f"The Ray cluster has no {unit}. Add a machine that has one, or choose another --device.")
    return min(job.workers or most, most)


@contextmanager
def _ray(job: Job) -> Iterator[Any]:
    """Yield Ray: as it is in this process, or connected to a cluster, or started here and ended afterwards."""
    address = job.address or os.environ.get("RAY_ADDRESS")
    with _quiet() as ray:
        if ray.is_initialized():
            yield ray
            return
        if address:
            where: dict[str, Any] = {"address": address}
        else:
            where = {"address": "local", "num_cpus": job.workers or default_workers(), "include_dashboard": False}
            where["object_store_memory"] = _STORE_BYTES
        try:
            if address:
                _knock(address)
            with _on_loopback(ray) if not address else ExitStack():
                ray.init(**where, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            what = f"The Ray cluster at {address!r} cannot be reached" if address else "Ray cannot be started here"
            raise BuildError(f"{what} ({one_line(error)}).") from None
        try:
            yield ray
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError if nobody listens there: Ray would try for minutes, and talk."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _quiet() -> Iterator[Any]:
    """Yield Ray, which then neither reports usage nor prints: what goes wrong is said once, by us."""
    with _environment(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"):
        import logging

        import ray
        from ray._private import worker

        logger, level = logging.getLogger("ray"), logging.getLogger("ray").level
        logger.setLevel(logging.ERROR)
        try:
            with _replaced(
                worker, "print_to_stdstream", lambda *_, **__: None
            ):  # there is no option for raylets' words
                yield ray
        finally:
            logger.setLevel(level)


@contextmanager
def _on_loopback(ray: Any) -> Iterator[None]:
    """Let a Ray that is started here listen on loopback alone; it has a switch for that, meant for other systems."""
    from ray._private import ray_constants

    with (
        _environment(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0"),
        _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False),
    ):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name, None)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _too_often(name: str, error: Exception) -> str:
    return (
        f"{_ATTEMPTS} workers died at {name} ({one_line(error, with_type=True)}). Was there too little memory? "
        "What is done is kept: go on with --resume, on fewer --workers or with --engine threads."
    )


def _other(value: Any, than: Any) -> str:
    """Return what of a value is another."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {value.get(key)}" for key in value | than if value.get(key) != than.get(key))
    return str(value)
