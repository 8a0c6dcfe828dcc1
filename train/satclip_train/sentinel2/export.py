"""Export of trained encoders: the released ``.ckpt`` layout, or ``.safetensors``."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from satclip_index.encoder.location_encoder import Encoder, Hyperparameters
from satclip_index.errors import ConfigError
from satclip_index.storage.atomic import atomic_path

from ..losses import INITIAL_LOGIT_SCALE
from .tiles import TILE_PIXELS
from .vision_towers import RELEASED_PREFIX, load_trunk, make_tower

CONFIG_KEY = "satclip_index_config"
LOCATION_PREFIXES = ("model.location.nnet.", "model.nnet.")
LOGIT_SCALE = "model.logit_scale"
# Further arguments of the constructor of the released module, which needs them to read a checkpoint.
RELEASED_UNUSED: dict[str, Any] = {
    "vision_width": 768,
    "vision_patch_size": 32,
    "in_channels": 13,
    "frequency_num": 16,
    "max_radius": 0.01,
    "min_radius": 1e-5,
    "sh_embedding_dims": 32,
}
# Names of the towers in the released files, by their name in timm.
RELEASED_TOWERS = {
    "resnet18": "moco_resnet18",
    "resnet50": "moco_resnet50",
    "vit_small_patch16_224": "moco_vit16",
}


def released_hyperparameters(
    shape: Hyperparameters,
    *,
    tower: str = "resnet18",
    crop: int = TILE_PIXELS,
    learning_rate: float = 1e-4,
    weight_decay: float = 0.01,
) -> dict[str, Any]:
    """Return the hyper-parameters of a released checkpoint, in plain values.

    Parameters
    ----------
    shape : Hyperparameters
        Geometry of the location encoder.
    tower : str
        ``random-conv`` or a timm model.
    crop : int
        Edge of the images of the tower, in pixels.
    learning_rate, weight_decay : float
        Of the optimizer.
    """
    return {
        "embed_dim": shape.embed_dim,
        "image_resolution": crop,
        "vision_layers": RELEASED_TOWERS.get(tower, tower),
        "le_type": shape.le_type,
        "pe_type": shape.pe_type,
        "legendre_polys": shape.legendre_polys,
        "harmonics_calculation": shape.harmonics_calculation,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "num_hidden_layers": shape.num_hidden_layers,
        "capacity": shape.capacity,
        **RELEASED_UNUSED,
    }


def export(source: str | Path, out: str | Path, *, vision_weights: Path | None = None) -> Encoder:
    """Write the location encoder of a checkpoint and, to a ``.ckpt``, the vision tower as far as it is available.

    Parameters
    ----------
    source : str or Path
        A checkpoint of a run, a released checkpoint, or any argument of :meth:`satclip_index.Encoder.load`.
    out : str or Path
        ``.safetensors``: the location encoder only, in its own precision. ``.ckpt``: the released layout, with the
        location weights in float64 under both prefixes. The released code can read it if it contains the tower.
    vision_weights : Path, optional
        Weights of the frozen trunk. A checkpoint that was trained from a cache contains only the last layer.

    Returns
    -------
    Encoder
        Read back from ``out``.

    Raises
    ------
    EncoderError
        If the source is not an encoder.
    ConfigError
        If ``out`` has another suffix, or ``vision_weights`` cannot be used.
    """
    out = Path(out)
    encoder = Encoder.load(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".safetensors":
        if vision_weights is not None:
            raise ConfigError(f"{out} cannot contain vision weights; write a .ckpt, or omit --vision-weights.")
        with atomic_path(out) as partial:
            encoder.save(partial)
    elif out.suffix == ".ckpt":
        document = released_checkpoint(encoder, source, vision_weights)
        with atomic_path(out) as partial:
            torch.save(document, partial)
    else:
        raise ConfigError(f"The suffix of {out} is {out.suffix!r}; expected .ckpt or .safetensors.")
    return Encoder.load(out)


def released_checkpoint(encoder: Encoder, source: str | Path, vision_weights: Path | None = None) -> dict[str, Any]:
    """Return a checkpoint in the released layout."""
    path = Path(source)
    checkpoint = read_checkpoint(path) if path.is_file() and path.suffix != ".safetensors" else {}
    state: dict[str, Tensor] = checkpoint.get("state_dict", {})
    visual = {key: tensor for key, tensor in state.items() if key.startswith(RELEASED_PREFIX)}
    if vision_weights is not None:
        visual = _with_trunk(checkpoint, visual, vision_weights, encoder.dim)
    location = {key: tensor.to(torch.float64) for key, tensor in encoder.network.state_dict().items()}
    hyperparameters = checkpoint.get("hyper_parameters") or released_hyperparameters(encoder.hyperparameters)
    return {
        "epoch": checkpoint.get("epoch", 0),
        "global_step": checkpoint.get("global_step", 0),
        "pytorch-lightning_version": checkpoint.get("pytorch-lightning_version") or version("lightning"),
        "state_dict": {
            LOGIT_SCALE: state.get(LOGIT_SCALE, torch.tensor(INITIAL_LOGIT_SCALE)),
            **visual,
            **{f"{prefix}{key}": tensor for prefix in LOCATION_PREFIXES for key, tensor in location.items()},
        },
        "hparams_name": "kwargs",
        "hyper_parameters": hyperparameters,
    }


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the contents of a Lightning checkpoint, without running pickled code."""
    Encoder.load(path)  # raises EncoderError, with the reason
    document: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return document


def _with_trunk(
    checkpoint: dict[str, Any], visual: dict[str, Tensor], vision_weights: Path, embed_dim: int
) -> dict[str, Tensor]:
    """Return the state of the whole tower: its trunk from a file, its last layer from the checkpoint."""
    config = checkpoint.get(CONFIG_KEY)
    if not config:
        raise ConfigError(
            "The checkpoint does not name its tower, so --vision-weights cannot be used; only checkpoints of runs do."
        )
    tower = make_tower(config["tower"]["name"], embed_dim)
    load_trunk(tower, vision_weights)
    head = {key.removeprefix(RELEASED_PREFIX): tensor for key, tensor in visual.items()}
    tower.visual.load_state_dict(head, strict=False)
    return {f"{RELEASED_PREFIX}{key}": tensor for key, tensor in tower.visual.state_dict().items()}
