"""The location encoder: (lon, lat) to an embedding, with the weights of SatCLIP or our own."""

import copy
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..checks import check_whole_number
from ..errors import EncoderError
from ..geo.coordinates import check_coordinates
from ._checkpoints import download, read_weights, write_weights
from ._siren import Hyperparameters, Siren
from .deterministic import one_thread_each
from .devices import best_device, device_of
from .spherical_harmonics import real_harmonics

__all__ = ["BUNDLED", "Encoder", "Hyperparameters", "Siren", "best_device", "unit_half"]

BUNDLED = ("bluemarble",)
_ROWS_AT_ONCE = 2048  # what is normalised at a time stays in cache
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


class Encoder:
    """A location encoder: ``encode(lon, lat)`` gives the raw embedding of any point on Earth.

    Make one with :meth:`load`, or from a trained network.

    Parameters
    ----------
    network : Siren
        The weights, in the precision they were stored in.
    hyperparameters : Hyperparameters
        The geometry that the weights have.
    name : str
        What to call it, such as ``bluemarble``.
    origin : dict of str
        Where it came from, for the manifest: a file, or a Hub repository and revision.
    """

    def __init__(
        self, network: Siren, hyperparameters: Hyperparameters, *, name: str, origin: Mapping[str, str] | None = None
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.hyperparameters = hyperparameters
        self.name = name
        self.origin = dict(origin or {})

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, L={self.hyperparameters.legendre_polys}, dim={self.dim})"

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self.hyperparameters.embed_dim

    @property
    def sha256(self) -> str:
        """A fingerprint of the weights, whichever file they came in."""
        digest = hashlib.sha256(json.dumps(asdict(self.hyperparameters), sort_keys=True).encode())
        for key, tensor in sorted(self.network.state_dict().items()):
            digest.update(key.encode() + tensor.to(torch.float64).cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Return the encoder that ``source`` names.

        Parameters
        ----------
        source : str or Path
            ``bluemarble``, which ships with the package; a ``.safetensors`` file of ours; a released Lightning
            ``.ckpt``; or a Hub repository, ``ORG/MODEL`` or ``ORG/MODEL@REVISION``, which is downloaded once.

        Returns
        -------
        Encoder

        Raises
        ------
        EncoderError
            If there is no such encoder, it cannot be fetched, or the file is not one. A checkpoint whose pickle asks
            for code to run is refused, and the code is not run.
        """
        text = str(source)
        if text in BUNDLED:
            with resources.as_file(resources.files(__package__) / "bundled" / f"{text}.safetensors") as path:
                return cls._from_file(path, name=text, origin={"bundled": text})
        path = Path(source)
        if path.suffix in (".safetensors", ".ckpt") or os.path.exists(path):  # noqa: PTH110 (Path's raises on long names)
            if not os.path.isfile(path):  # noqa: PTH113
                raise EncoderError(f"No encoder file at {text}.")
            return cls._from_file(path, name=path.stem, origin={"file": path.name})
        if hub := _HUB_ID.fullmatch(text):
            path, revision = download(hub["repo"], hub["revision"])
            return cls._from_file(path, name=hub["repo"], origin={"repository": hub["repo"], "revision": revision})
        raise EncoderError(
            f"No encoder called {text!r}. Expected {', '.join(BUNDLED)}, a .safetensors or .ckpt file, or a Hub "
            "repository such as microsoft/SatCLIP-ViT16-L40."
        )

    @classmethod
    def _from_file(cls, path: Path, *, name: str, origin: Mapping[str, str]) -> Self:
        network, hyperparameters, own_name = read_weights(path)
        return cls(network, hyperparameters, name=own_name or name, origin=origin)

    def save(self, path: str | Path) -> None:
        """Write the encoder as a ``.safetensors`` file that :meth:`load` reads, in the precision it has.

        Raises
        ------
        OutputError
            If it cannot be written there.
        """
        write_weights(Path(path), self.network, self.hyperparameters, self.name)

    def encode(
        self,
        lon: ArrayLike,
        lat: ArrayLike,
        *,
        batch_size: int = 1024,
        device: str = "cpu",
        precision: str = "float32",
    ) -> NDArray[np.float32]:
        """Return the raw embedding of each point, as the released model gives it.

        Parameters
        ----------
        lon, lat : float or (n,) array
            Degrees; lon in [-180, 360], lat in [-90, 90].
        batch_size : int
            Points at a time. On a CPU about a thousand keeps the harmonics in cache; on a GPU take 65,536 or more.
        device : str
            ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: a CUDA device where there is one.
        precision : {"float32", "float64"}
            Of the network; the harmonics are float64 either way. float32 differs by about 4e-6.

        Returns
        -------
        (n, dim) float32
            In the order of the input. Not normalised.

        Raises
        ------
        CoordinateError
            If a coordinate is missing, not finite or out of range.
        EncoderError
            If there is no such device, or another option cannot be.
        """
        lon, lat = check_coordinates(lon, lat)
        batch_size = check_whole_number("batch_size", batch_size, error=EncoderError)
        if precision not in ("float32", "float64"):
            raise EncoderError(f"precision is {precision!r}; expected float32 or float64.")
        dtype = torch.float32 if precision == "float32" else torch.float64
        where = device_of(device)
        network = copy.deepcopy(self.network).to(where, dtype)
        out = np.empty((lon.size, self.dim), dtype=np.float32)

        def encode_from(start: int) -> None:
            rows = slice(start, start + batch_size)
            with torch.inference_mode():
                harmonics = real_harmonics(
                    torch.from_numpy(lon[rows]).to(where),
                    torch.from_numpy(lat[rows]).to(where),
                    self.hyperparameters.legendre_polys,
                    self.hyperparameters.harmonics_calculation,
                    dtype=dtype,
                )
                out[rows] = network(harmonics.T).to(torch.float32).cpu().numpy()

        starts = range(0, lon.size, batch_size)
        if where.type == "cpu" and len(starts) > 1 and torch.get_num_threads() > 1:
            _each_on_one_thread(encode_from, starts)
        else:
            for start in starts:
                encode_from(start)
        return out


def _each_on_one_thread(work: Callable[[int], None], items: Sequence[int]) -> None:
    """Run work side by side on as many threads as torch has, each of them alone at its own batch.

    Torch's way, all threads at one batch, waits at a barrier after every operation: on a busy two-core machine that
    was measured eight times slower than one thread.
    """
    with one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


def unit_half(raw: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return embeddings as an atlas stores them.

    Parameters
    ----------
    raw : (n, dim) float32
        As :meth:`Encoder.encode` gives them.

    Returns
    -------
    embedding : (n, dim) float32
        Unit vectors, each value rounded to half precision.
    norm : (n,) float32
        The length that was divided out.

    Raises
    ------
    EncoderError
        If an embedding is zero or not finite, and so has no direction.
    """
    norm, embedding = np.empty(len(raw)), torch.empty(raw.shape)
    for row in range(0, len(raw), _ROWS_AT_ONCE):
        some = slice(row, row + _ROWS_AT_ONCE)
        vectors = torch.from_numpy(raw[some])
        length = torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float64)
        norm[some] = length.numpy()
        embedding[some] = (vectors / length[:, None].to(torch.float32)).to(torch.float16)
    bad = np.flatnonzero(~((norm > 0) & (norm < np.inf)))
    if bad.size:
        raise EncoderError(
            f"{bad.size} embeddings are zero or not finite; first at row {bad[0]}. The encoder is unusable."
        )
    return embedding.numpy(), norm.astype(np.float32)
