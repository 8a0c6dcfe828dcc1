"""The location encoder: from (lon, lat) to an embedding, with released or our own weights."""

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
from .deterministic import single_threaded
from .devices import best_device, open_device
from .spherical_harmonics import real_harmonics

__all__ = ["BUNDLED", "Encoder", "Hyperparameters", "Siren", "best_device", "unit_half"]

BUNDLED = ("bluemarble",)
_ROWS_AT_ONCE = 2048  # rows normalized at a time, so that they stay in the CPU cache
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


class Encoder:
    """A location encoder: ``encode(lon, lat)`` returns the raw embedding of any point on Earth.

    Create one with :meth:`load`, or from a trained network.

    Parameters
    ----------
    network : Siren
        The network, in the precision of its file.
    hyperparameters : Hyperparameters
        Hyperparameters of the network.
    name : str
        Name of the encoder, such as ``bluemarble``.
    origin : dict of str
        Source of the weights, for the manifest: a file, or a Hub repository and revision.
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
        """SHA-256 of the weights and hyperparameters, independent of the file format."""
        digest = hashlib.sha256(json.dumps(asdict(self.hyperparameters), sort_keys=True).encode())
        for key, tensor in sorted(self.network.state_dict().items()):
            digest.update(key.encode() + tensor.to(torch.float64).cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def load(cls, source: str | Path) -> Self:
        """Load an encoder.

        Parameters
        ----------
        source : str or Path
            ``bluemarble``, which is part of the package; a ``.safetensors`` file; a ``.ckpt`` file as released by
            SatCLIP; or a repository on the Hugging Face Hub, ``ORG/MODEL`` or ``ORG/MODEL@REVISION``, which is
            downloaded once.

        Returns
        -------
        Encoder

        Raises
        ------
        EncoderError
            If the encoder does not exist, cannot be downloaded or is not valid. Checkpoints whose pickle contains code
            are refused, and the code is not run.
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
        """Write the encoder to a ``.safetensors`` file for :meth:`load`, in its own precision.

        Raises
        ------
        OutputError
            If the file cannot be written.
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
        """Return the raw embedding of each point, as the released model computes it.

        Parameters
        ----------
        lon, lat : float or (n,) array
            Degrees; lon in [-180, 360], lat in [-90, 90].
        batch_size : int
            Points per batch. On a CPU, about 1,000 keeps the harmonics in cache; on a GPU, use 65,536 or more.
        device : str
            ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a CUDA device if available.
        precision : {"float32", "float64"}
            Precision of the network; harmonics are always computed in float64. float32 differs by about 4e-6.

        Returns
        -------
        (n, dim) float32
            In the order of the input; not normalized.

        Raises
        ------
        CoordinateError
            If a coordinate is missing, not finite or out of range.
        EncoderError
            If the device cannot be used, or another option is invalid.
        """
        lon, lat = check_coordinates(lon, lat)
        batch_size = check_whole_number("batch_size", batch_size, error=EncoderError)
        if precision not in ("float32", "float64"):
            raise EncoderError(f"precision is {precision!r}; expected float32 or float64.")
        dtype = torch.float32 if precision == "float32" else torch.float64
        torch_device = open_device(device)
        network = copy.deepcopy(self.network).to(torch_device, dtype)
        out = np.empty((lon.size, self.dim), dtype=np.float32)

        def encode_from(start: int) -> None:
            rows = slice(start, start + batch_size)
            with torch.inference_mode():
                harmonics = real_harmonics(
                    torch.from_numpy(lon[rows]).to(torch_device),
                    torch.from_numpy(lat[rows]).to(torch_device),
                    self.hyperparameters.legendre_polys,
                    self.hyperparameters.harmonics_calculation,
                    dtype=dtype,
                )
                out[rows] = network(harmonics.T).to(torch.float32).cpu().numpy()

        starts = range(0, lon.size, batch_size)
        if torch_device.type == "cpu" and len(starts) > 1 and torch.get_num_threads() > 1:
            _each_on_one_thread(encode_from, starts)
        else:
            for start in starts:
                encode_from(start)
        return out


def _each_on_one_thread(work: Callable[[int], None], items: Sequence[int]) -> None:
    """Call a function for each item on as many threads as torch has; each thread works on its own batch.

    By default, torch uses all threads for one batch and synchronizes them after every operation: on a busy two-core
    machine that was measured eight times slower than a single thread.
    """
    with single_threaded() as threads, ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


def unit_half(raw: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return embeddings normalized to unit length and rounded to half precision, as an atlas stores them.

    Parameters
    ----------
    raw : (n, dim) float32
        Raw embeddings, as :meth:`Encoder.encode` returns them.

    Returns
    -------
    embedding : (n, dim) float32
        Unit vectors, each value rounded to half precision.
    norm : (n,) float32
        Length of each raw embedding.

    Raises
    ------
    EncoderError
        If an embedding is zero or not finite, so that it has no direction.
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
