"""The Ray engine: shards built in parallel on a cluster, with one worker per GPU or CPU core."""

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
from ._build_settings import BuildSettings, Record, rounding_environment
from ._shard_storage import Files, Storage
from ._shards import Shard
from ._thread_engine import default_workers, shared_encoder

_ATTEMPTS = 4  # at a shard whose workers die
_STORE_BYTES = 1 << 28  # object store of a local Ray, which has only the encoder


def run_on_ray(settings: BuildSettings, shards: list[Shard], record: Record) -> Generator[Shard]:
    """Build shards on a Ray cluster or on a local Ray, and yield each once it is recorded.

    A worker builds one shard at a time. If it dies, another worker retries its shard, a few times.

    Raises
    ------
    BuildError
        If the cluster cannot be reached, workers keep dying, or a worker would produce other bytes than this machine.
    """
    check_extra("ray", "ray")
    with _ray(settings) as ray:
        start = _worker_starter(ray, settings)
        waiting, deaths = deque(shards), Counter[str]()
        running: dict[Any, tuple[Any, Shard | None]] = {}

        def start_worker() -> None:
            new = start()
            running[new.check.remote()] = new, None

        for _ in range(min(_worker_count(ray, settings), len(shards))):
            start_worker()
        try:
            left = len(shards)
            while left:
                (done,), _ = ray.wait(list(running))
                actor, shard = running.pop(done)
                name = shard.name if shard else "its start"
                try:
                    files: Files | None = ray.get(done)
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, Exception) else error) from None
                except ray.exceptions.RayError as error:
                    deaths[name] += 1
                    if deaths[name] == _ATTEMPTS:
                        raise BuildError(_worker_died_message(name, error)) from None
                    if shard:
                        waiting.appendleft(shard)
                    start_worker()
                    continue
                del deaths[name]
                if waiting:
                    following = waiting.popleft()
                    running[actor.build.remote(following)] = actor, following
                else:
                    ray.kill(actor)  # frees its CPU core
                if shard and files is not None:
                    record(shard, files)
                    left -= 1
                    yield shard
        finally:
            for actor, _ in running.values():
                ray.kill(actor)  # so that none writes after the build has released its lock


class _Worker:
    """A worker process, on any machine of a cluster."""

    def __init__(
        self, weights: bytes, land_only: bool, device: str, storage: Storage, expected: dict[str, Any]
    ) -> None:
        from ..encoder.location_encoder import Encoder

        with TemporaryDirectory() as folder:
            path = Path(folder) / "encoder.safetensors"
            path.write_bytes(weights)
            encoder = Encoder.load(path)
        self._settings = BuildSettings(encoder, land_only, device, storage)
        self._expected, self._stack = expected, ExitStack()
        self._encode = self._stack.enter_context(shared_encoder(encoder, device, 1))
        is_land(np.zeros(1), np.zeros(1))  # loads the mask before the first shard

    def check(self) -> None:
        """Raise BuildError if this worker would produce other bytes than the machine that started the build."""
        from ..encoder.devices import device_type

        device_type(self._settings.device)
        node = os.uname().nodename
        for name, found in rounding_environment().items():
            if found != self._expected[name]:
                raise BuildError(
                    f"The worker on {node} has {name} {_difference(found, self._expected[name])}; the build was "
                    f"started with {_difference(self._expected[name], found)}, and the bytes would differ. Use "
                    "machines with the same processor and library versions."
                )
        if not self._settings.storage.is_reachable():
            raise BuildError(
                f"The worker on {node} cannot access the folder of the build. Use a file system that all machines "
                "share, mounted at the same path, or a URL such as s3://bucket/world."
            )

    def build(self, shard: Shard) -> Files:
        """Build and store the files of a shard, and return their entries."""
        return self._settings.build(shard, self._encode)


def _worker_starter(ray: Any, settings: BuildSettings) -> Any:
    """Return a function that starts a worker; the encoder is sent to the cluster once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.safetensors"
        settings.encoder.save(path)
        weights = ray.put(path.read_bytes())
    remote = ray.remote(num_cpus=1, num_gpus=1 if settings.device == "cuda" else 0)(_Worker)
    return lambda: remote.remote(weights, settings.land_only, settings.device, settings.storage, rounding_environment())


def _worker_count(ray: Any, settings: BuildSettings) -> int:
    """Return the number of workers: at most what the cluster can run."""
    unit = "GPU" if settings.device == "cuda" else "CPU"
    most = int(ray.cluster_resources().get(unit, 0))
    if not most:
        raise BuildError(f"The Ray cluster has no {unit}. Add a machine with one, or choose another --device.")
    return min(settings.workers or most, most)


@contextmanager
def _ray(settings: BuildSettings) -> Iterator[Any]:
    """Yield Ray: as this process has it, connected to a cluster, or started here and shut down afterwards."""
    address = settings.address or os.environ.get("RAY_ADDRESS")
    with _quiet() as ray:
        if ray.is_initialized():
            yield ray
            return
        if address:
            where: dict[str, Any] = {"address": address}
        else:
            where = {"address": "local", "num_cpus": settings.workers or default_workers(), "include_dashboard": False}
            where["object_store_memory"] = _STORE_BYTES
        try:
            if address:
                _check_port(address)
            with _on_loopback(ray) if not address else ExitStack():
                ray.init(**where, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            what = f"The Ray cluster at {address!r} cannot be reached" if address else "Ray cannot be started here"
            raise BuildError(f"{what} ({one_line(error)}).") from None
        try:
            yield ray
        finally:
            ray.shutdown()


def _check_port(address: str) -> None:
    """Raise OSError if nothing listens at an address; Ray itself would retry for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@contextmanager
def _quiet() -> Iterator[Any]:
    """Yield Ray with usage reports and printing disabled: our own errors report failures."""
    with _environment(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0"):
        import logging

        import ray
        from ray._private import worker

        logger, level = logging.getLogger("ray"), logging.getLogger("ray").level
        logger.setLevel(logging.ERROR)
        try:
            with _replaced(worker, "print_to_stdstream", lambda *_, **__: None):  # no option silences raylets
                yield ray
        finally:
            logger.setLevel(level)


@contextmanager
def _on_loopback(ray: Any) -> Iterator[None]:
    """Make a local Ray listen on loopback only, by a switch that Ray has for other operating systems."""
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


def _worker_died_message(name: str, error: Exception) -> str:
    return (
        f"{_ATTEMPTS} workers died at {name} ({one_line(error, with_type=True)}). They may have run out of memory. "
        "Finished parts are kept; continue with --resume, fewer --workers or --engine threads."
    )


def _difference(value: Any, other: Any) -> str:
    """Return the items of a dictionary that differ from another's, or a plain value, as text."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {value.get(key)}" for key in value | other if value.get(key) != other.get(key))
    return str(value)
