"""Reading and writing weights: our own files, released checkpoints, and the Hugging Face Hub."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import EncoderError, OutputError, one_line
from ._siren import Hyperparameters, Siren

_METADATA_KEY = "satclip_index.encoder"
_CHECKPOINT_PREFIX = "model.location.nnet."


def read_weights(path: Path) -> tuple[Siren, Hyperparameters, str | None]:
    """Return the network in a file, its hyperparameters, and its name if the file has one.

    Raises
    ------
    EncoderError
        If the file is not an encoder, is damaged, or contains code, which is never run.
    """
    name = None
    if path.suffix == ".safetensors":
        weights, hyperparameters, name = _read_safetensors(path)
    else:
        weights, hyperparameters = _read_checkpoint(path)
    return _build_network(path, weights, hyperparameters), hyperparameters, name


def write_weights(path: Path, network: Siren, hyperparameters: Hyperparameters, name: str) -> None:
    """Write a network as a ``.safetensors`` file, or raise OutputError."""
    described = {"format": 1, "name": name, "hyperparameters": asdict(hyperparameters)}
    tensors = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
    metadata = {_METADATA_KEY: json.dumps(described, sort_keys=True)}
    try:
        path.write_bytes(save(tensors, metadata=metadata))  # save_file would make it readable by its owner only
    except OSError as error:
        raise OutputError(f"{path} could not be written: {one_line(error)}.") from None


def _read_safetensors(path: Path) -> tuple[Mapping[str, Tensor], Hyperparameters, str | None]:
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})[_METADATA_KEY])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        hyperparameters = Hyperparameters(**described["hyperparameters"])
    except KeyError:
        raise EncoderError(f"{path} contains tensors, but not a location encoder of this package.") from None
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise EncoderError(
            f"{path} is not a readable .safetensors file ({one_line(error)}). Download or export it again."
        ) from None
    return weights, hyperparameters, described.get("name")


def _read_checkpoint(path: Path) -> tuple[Mapping[str, Tensor], Hyperparameters]:
    if not zipfile.is_zipfile(path):
        raise EncoderError(f"{path} is not a PyTorch checkpoint, or it is truncated.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("Unsupported")[2] or str(error)
        raise EncoderError(
            f"{path} was refused: its pickle contains more than tensors and plain values "
            f"(unsupported{' '.join(reason.split())[:120]}). No code in it was run."
        ) from None
    except (RuntimeError, OSError, EOFError, KeyError, ValueError) as error:
        raise EncoderError(f"{path} is not a readable PyTorch checkpoint ({one_line(error)}).") from None
    if not isinstance(checkpoint, dict) or not {"state_dict", "hyper_parameters"} <= checkpoint.keys():
        raise EncoderError(f"{path} has no state_dict and hyper_parameters; expected a SatCLIP Lightning checkpoint.")
    hyper, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    if not isinstance(hyper, Mapping) or not isinstance(state, Mapping):
        raise EncoderError(f"{path}: its state_dict or hyper_parameters is not a dictionary.")
    required = Hyperparameters.__dataclass_fields__
    missing = [key for key in required if key not in hyper]
    if missing:
        raise EncoderError(f"{path}: its hyper_parameters lack {', '.join(missing)}, which have no default.")
    weights = {
        key.removeprefix(_CHECKPOINT_PREFIX): tensor
        for key, tensor in state.items()
        if isinstance(key, str) and isinstance(tensor, Tensor) and key.startswith(_CHECKPOINT_PREFIX)
    }
    return weights, Hyperparameters(**{key: hyper[key] for key in required})


def _build_network(path: Path, weights: Mapping[str, Tensor], hyperparameters: Hyperparameters) -> Siren:
    """Return a network with given weights, in their precision, or raise EncoderError if their shapes do not fit."""
    p = hyperparameters.check(str(path))
    with torch.device("meta"):
        network = Siren(p.legendre_polys**2, p.capacity, p.num_hidden_layers, p.embed_dim)
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    actual = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    if expected != actual:
        odd = sorted(key for key in expected | actual if expected.get(key) != actual.get(key))
        raise EncoderError(
            f"{path}: its weights do not fit its hyperparameters at {odd[0]}: "
            f"expected {expected.get(odd[0])}, found {actual.get(odd[0])}."
        )
    if not all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise EncoderError(f"{path}: some weights are not finite numbers.")
    network.load_state_dict({key: tensor.clone() for key, tensor in weights.items()}, assign=True)
    return network


def download(repository: str, revision: str | None) -> tuple[Path, str]:
    """Download the single weights file of a Hub repository; return its path and the commit of the revision."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.ckpt"]
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError:
        raise EncoderError(
            f"{repository} is not in the local cache, and the Hugging Face Hub cannot be reached. "
            "Use the bundled encoder (bluemarble) or a downloaded .ckpt file."
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise EncoderError(
            f"{repository} could not be downloaded from the Hugging Face Hub: {one_line(error)}."
        ) from None
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    if len(files) != 1:
        raise EncoderError(
            f"{repository} has {len(files)} .safetensors or .ckpt files; expected one. Download one and name the file."
        )
    return files[0], folder.name
