"""The location encoder: (lon, lat) to an embedding, with the weights of SatCLIP or our own."""

import copy
import hashlib
import json
import math
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .coordinates import check_coordinates
from .errors import EncoderError, OutputError
from .harmonics import CONVENTIONS, Convention, real_harmonics

BUNDLED = ("bluemarble",)
METADATA_KEY = "satclip_index.encoder"
_CHECKPOINT_PREFIX = "model.location.nnet."
_MOST = 1_000_000  # of anything that a file claims: far above sense, far below what overflows
_HUB_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """The geometry of a location encoder, by the names of the released checkpoints."""

    legendre_polys: int
    capacity: int
    num_hidden_layers: int
    embed_dim: int
    harmonics_calculation: Convention = "analytic"
    le_type: str = "sphericalharmonics"
    pe_type: str = "siren"

    def check(self, source: str) -> Self:
        """Return self, or raise EncoderError if this code does not know such an encoder."""
        for name, known in (
            ("le_type", ("sphericalharmonics",)),
            ("pe_type", ("siren",)),
            ("harmonics_calculation", CONVENTIONS),
        ):
            if getattr(self, name) not in known:
                raise EncoderError(
                    f"{source}: {name} is {getattr(self, name)!r}; this package reads {' or '.join(known)}."
                )
        for name in ("legendre_polys", "capacity", "num_hidden_layers", "embed_dim"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
                raise EncoderError(f"{source}: {name} is {value!r}; expected a whole number from 1 to {_MOST:,}.")
        return self


class Siren(nn.Module):
    """Sine layers ``sin(w0 (W x + b))`` and one linear layer, as SatCLIP uses them.

    Parameters
    ----------
    dim_in, capacity, num_hidden_layers, embed_dim : int
        Width of the input, of each hidden layer, their number, and width of the output.
    dropout : float
        Share of hidden pre-activations dropped in training (0.5 in the released code).
    w0_first : float
        Frequency of the first layer; the others have 1.

    Notes
    -----
    Sitzmann et al. 2020 (arXiv 2006.09661), section 3.2; initialised as in microsoft/satclip, location_encoder.py:
    U(+-1 / dim_in) in the first layer, U(+-sqrt(6 / dim_in) / w0) in the others, biases in the same range.
    """

    def __init__(
        self,
        dim_in: int,
        capacity: int,
        num_hidden_layers: int,
        embed_dim: int,
        *,
        dropout: float = 0.0,
        w0_first: float = 30.0,
    ) -> None:
        super().__init__()
        widths = [dim_in] + [capacity] * num_hidden_layers
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last_layer = nn.Linear(capacity, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.w0_first = w0_first
        for layer in (*self.layers, self.last_layer):
            assert isinstance(layer, nn.Linear)
            bound = 1 / dim_in if layer is self.layers[0] else math.sqrt(6 / layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(layer.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw embedding, (n, embed_dim), of (n, dim_in) harmonics."""
        w0 = self.w0_first
        for layer in self.layers:
            x = torch.sin(w0 * self.dropout(layer(x)))
            w0 = 1.0
        out: Tensor = self.last_layer(x)
        return out


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
            with resources.as_file(resources.files("satclip_index") / "encoders" / f"{text}.safetensors") as path:
                return cls._from_safetensors(path, name=text, origin={"bundled": text})
        path = Path(source)
        if path.suffix in (".safetensors", ".ckpt") or os.path.exists(path):  # noqa: PTH110 (Path's raises on long names)
            if not os.path.isfile(path):  # noqa: PTH113
                raise EncoderError(f"No encoder file at {text}.")
            return cls._from_file(path, name=path.stem, origin={"file": path.name})
        if hub := _HUB_ID.fullmatch(text):
            path, revision = _download(hub["repo"], hub["revision"])
            return cls._from_file(path, name=hub["repo"], origin={"repository": hub["repo"], "revision": revision})
        raise EncoderError(
            f"No encoder called {text!r}. Expected {', '.join(BUNDLED)}, a .safetensors or .ckpt file, or a Hub "
            "repository such as microsoft/SatCLIP-ViT16-L40."
        )

    @classmethod
    def _from_file(cls, path: Path, *, name: str, origin: Mapping[str, str]) -> Self:
        if path.suffix == ".safetensors":
            return cls._from_safetensors(path, name=name, origin=origin)
        return cls._from_checkpoint(path, name=name, origin=origin)

    @classmethod
    def _from_safetensors(cls, path: Path, *, name: str, origin: Mapping[str, str]) -> Self:
        try:
            with safe_open(path, framework="pt") as file:
                described = json.loads((file.metadata() or {})[METADATA_KEY])
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            hyperparameters = Hyperparameters(**described["hyperparameters"])
        except KeyError:
            raise EncoderError(f"{path} holds tensors, but not a location encoder of this package.") from None
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise EncoderError(
                f"{path} is not a readable .safetensors file ({error}). Fetch or export it again."
            ) from None
        return cls._assemble(path, weights, hyperparameters, name=described.get("name", name), origin=origin)

    @classmethod
    def _from_checkpoint(cls, path: Path, *, name: str, origin: Mapping[str, str]) -> Self:
        if not zipfile.is_zipfile(path):
            raise EncoderError(f"{path} is not a PyTorch checkpoint: it is truncated, or another kind of file.")
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            reason = str(error).partition("Unsupported")[2] or str(error)
            raise EncoderError(
                f"{path} was refused: its pickle asks for more than tensors and plain values "
                f"(unsupported{' '.join(reason.split())[:120]}). Nothing in it was run."
            ) from None
        except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
            raise EncoderError(
                f"{path} is not a readable PyTorch checkpoint ({' '.join(str(error).split())[:120]})."
            ) from None
        if not isinstance(checkpoint, dict) or not {"state_dict", "hyper_parameters"} <= checkpoint.keys():
            raise EncoderError(
                f"{path} has no state_dict and hyper_parameters; expected a SatCLIP Lightning checkpoint."
            )
        hyper, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
        if not isinstance(hyper, Mapping) or not isinstance(state, Mapping):
            raise EncoderError(f"{path}: its state_dict or hyper_parameters is not a dictionary.")
        wanted = Hyperparameters.__dataclass_fields__
        missing = [key for key in wanted if key not in hyper]
        if missing:
            raise EncoderError(f"{path}: its hyper_parameters lack {', '.join(missing)}, which nothing here assumes.")
        weights = {
            key.removeprefix(_CHECKPOINT_PREFIX): tensor
            for key, tensor in state.items()
            if isinstance(key, str) and isinstance(tensor, Tensor) and key.startswith(_CHECKPOINT_PREFIX)
        }
        hyperparameters = Hyperparameters(**{key: hyper[key] for key in wanted})
        return cls._assemble(path, weights, hyperparameters, name=name, origin=origin)

    @classmethod
    def _assemble(
        cls,
        path: Path,
        weights: Mapping[str, Tensor],
        hyperparameters: Hyperparameters,
        *,
        name: str,
        origin: Mapping[str, str],
    ) -> Self:
        p = hyperparameters.check(str(path))
        with torch.device("meta"):
            network = Siren(p.legendre_polys**2, p.capacity, p.num_hidden_layers, p.embed_dim)
        expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        found = {key: tuple(tensor.shape) for key, tensor in weights.items()}
        if expected != found:
            odd = sorted(key for key in expected | found if expected.get(key) != found.get(key))
            raise EncoderError(
                f"{path}: its weights do not fit its hyper-parameters at {odd[0]}: "
                f"expected {expected.get(odd[0])}, found {found.get(odd[0])}."
            )
        if not all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in weights.values()):
            raise EncoderError(f"{path}: some location weights are not finite numbers.")
        network.load_state_dict({key: tensor.clone() for key, tensor in weights.items()}, assign=True)
        return cls(network, p, name=name, origin=origin)

    def save(self, path: str | Path) -> None:
        """Write the encoder as a ``.safetensors`` file that :meth:`load` reads, in the precision it has.

        Raises
        ------
        OutputError
            If it cannot be written there.
        """
        described = {"format": 1, "name": self.name, "hyperparameters": asdict(self.hyperparameters)}
        tensors = {key: tensor.contiguous() for key, tensor in self.network.state_dict().items()}
        metadata = {METADATA_KEY: json.dumps(described, sort_keys=True)}
        try:
            Path(path).write_bytes(save(tensors, metadata=metadata))  # save_file would make it its owner's alone
        except OSError as error:
            raise OutputError(f"{path} could not be written: {error.strerror}.") from None

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
        if batch_size < 1:
            raise EncoderError(f"batch_size is {batch_size}; expected at least 1.")
        if precision not in ("float32", "float64"):
            raise EncoderError(f"precision is {precision!r}; expected float32 or float64.")
        dtype = torch.float32 if precision == "float32" else torch.float64
        where = _device(device)
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
        if where.type == "cpu" and len(starts) > 1:
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
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(work, items):
                pass
    finally:
        torch.set_num_threads(threads)


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
    norm = np.linalg.norm(raw.astype(np.float64), axis=1)
    bad = np.flatnonzero(~((norm > 0) & (norm < np.inf)))
    if bad.size:
        raise EncoderError(
            f"{bad.size} embeddings are zero or not finite; first at row {bad[0]}. The encoder is unusable."
        )
    return (raw / norm[:, None]).astype(np.float16).astype(np.float32), norm.astype(np.float32)


def best_device() -> str:
    """Return ``cuda`` if there is a CUDA device, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _device(name: str) -> torch.device:
    """Return a device of this machine, or raise EncoderError."""
    try:
        device = torch.device(best_device() if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        raise EncoderError(
            f"Device {name!r} cannot be used here ({' '.join(str(error).split())[:120]}). "
            "Expected cpu, cuda, cuda:N or auto."
        ) from None
    return device


def _download(repository: str, revision: str | None) -> tuple[Path, str]:
    """Fetch the one weights file of a Hub repository; return its path and the commit it was pinned to."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.ckpt"]
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        raise EncoderError(
            f"{repository} is not on this machine, and the Hugging Face Hub could not be reached. "
            "Work offline with the bundled encoder (bluemarble) or a downloaded .ckpt file."
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise EncoderError(
            f"{repository} could not be fetched from the Hugging Face Hub: {str(error).strip().splitlines()[0]}"
        ) from None
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    if len(files) != 1:
        raise EncoderError(
            f"{repository} holds {len(files)} .safetensors or .ckpt files; expected one. Download it and name the file."
        )
    return files[0], folder.name
