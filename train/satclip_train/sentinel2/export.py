"""Write a trained encoder for the rest of the world: the released ``.ckpt`` layout, or our ``.safetensors``."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from satclip_index.encoder.location_encoder import Encoder
from satclip_index.errors import ConfigError
from satclip_index.storage.atomic import atomic_path

from ..losses import INITIAL_LOGIT_SCALE
from .vision_towers import RELEASED_PREFIX, load_trunk, make_tower

CONFIG_KEY = "satclip_index_config"
LOCATION_PREFIXES = ("model.location.nnet.", "model.nnet.")
LOGIT_SCALE = "model.logit_scale"
# What the constructor of the released module is told beside what we use, so that it can read our checkpoints.
RELEASED_UNUSED: dict[str, Any] = {
    "vision_width": 768,
    "vision_patch_size": 32,
    "in_channels": 13,
    "frequency_num": 16,
    "max_radius": 0.01,
    "min_radius": 1e-5,
    "sh_embedding_dims": 32,
}
# The released files call their towers otherwise than timm does.
RELEASED_TOWERS = {
    "resnet18": "moco_resnet18",
    "resnet50": "moco_resnet50",
    "vit_small_patch16_224": "moco_vit16",
}


def released_hyperparameters(
    *,
    tower: str,
    crop: int,
    embed_dim: int,
    legendre_polys: int,
    harmonics_calculation: str,
    num_hidden_layers: int,
    capacity: int,
    learning_rate: float = 1e-4,
    weight_decay: float = 0.01,
) -> dict[str, Any]:
    """Return what the released checkpoints call their hyper-parameters, in plain values.

    Parameters
    ----------
    tower : str
        By its name here.
    crop : int
        Pixels a side of the images it takes.
    embed_dim, legendre_polys, harmonics_calculation, num_hidden_layers, capacity
        The geometry of the location encoder.
    learning_rate, weight_decay : float
        Of the optimiser.
    """
    return {
        "embed_dim": embed_dim,
        "image_resolution": crop,
        "vision_layers": RELEASED_TOWERS.get(tower, tower),
        "le_type": "sphericalharmonics",
        "pe_type": "siren",
        "legendre_polys": legendre_polys,
        "harmonics_calculation": harmonics_calculation,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "num_hidden_layers": num_hidden_layers,
        "capacity": capacity,
        **RELEASED_UNUSED,
    }


def export(source: str | Path, out: str | Path, *, vision_weights: Path | None = None) -> Encoder:
    """Write the location encoder of a checkpoint, and of a ``.ckpt`` all that is at hand of the image side.

    Parameters
    ----------
    source : str or Path
        A checkpoint of ours or a released one, or any encoder that :meth:`satclip_index.Encoder.load` knows.
    out : str or Path
        ``.safetensors``: the location encoder alone, in the precision it has. ``.ckpt``: the released layout, with the
        location weights in float64 under both prefixes, which the released code reads if the tower is in it.
    vision_weights : Path, optional
        Weights of the frozen trunk, for a checkpoint that was trained from a cache and so has the last layer alone.

    Returns
    -------
    Encoder
        As it is in ``out``.

    Raises
    ------
    EncoderError
        If the source is not an encoder.
    ConfigError
        If the name of ``out`` tells no format, or vision weights fit no tower.
    """
    out = Path(out)
    encoder = Encoder.load(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".safetensors":
        if vision_weights is not None:
            raise ConfigError(f"{out} holds no vision weights; write a .ckpt, or leave out --vision-weights.")
        with atomic_path(out) as partial:
            encoder.save(partial)
    elif out.suffix == ".ckpt":
        document = released_checkpoint(encoder, source, vision_weights)
        with atomic_path(out) as partial:
            torch.save(document, partial)
    else:
        raise ConfigError(f"The name {out} tells no format; end it in .ckpt or .safetensors.")
    return Encoder.load(out)


def released_checkpoint(encoder: Encoder, source: str | Path, vision_weights: Path | None = None) -> dict[str, Any]:
    """Return a checkpoint in the released layout."""
    path = Path(source)
    held = read_checkpoint(path) if path.is_file() and path.suffix != ".safetensors" else {}
    state: dict[str, Tensor] = held.get("state_dict", {})
    visual = {key: tensor for key, tensor in state.items() if key.startswith(RELEASED_PREFIX)}
    if vision_weights is not None:
        visual = _with_trunk(held, visual, vision_weights, encoder.dim)
    location = {key: tensor.to(torch.float64) for key, tensor in encoder.network.state_dict().items()}
    hyperparameters = held.get("hyper_parameters") or released_hyperparameters(
        tower="resnet18",
        crop=256,
        embed_dim=encoder.dim,
        legendre_polys=encoder.hyperparameters.legendre_polys,
        harmonics_calculation=encoder.hyperparameters.harmonics_calculation,
        num_hidden_layers=encoder.hyperparameters.num_hidden_layers,
        capacity=encoder.hyperparameters.capacity,
    )
    return {
        "epoch": held.get("epoch", 0),
        "global_step": held.get("global_step", 0),
        "pytorch-lightning_version": held.get("pytorch-lightning_version") or version("lightning"),
        "state_dict": {
            LOGIT_SCALE: state.get(LOGIT_SCALE, torch.tensor(INITIAL_LOGIT_SCALE)),
            **visual,
            **{f"{prefix}{key}": tensor for prefix in LOCATION_PREFIXES for key, tensor in location.items()},
        },
        "hparams_name": "kwargs",
        "hyper_parameters": hyperparameters,
    }


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a Lightning checkpoint holds; nothing pickled in it is run."""
    Encoder.load(path)  # raises EncoderError, with the reason
    document: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return document


def _with_trunk(
    held: dict[str, Any], visual: dict[str, Tensor], vision_weights: Path, embed_dim: int
) -> dict[str, Tensor]:
    """Return the whole tower: its trunk from a file, its last layer from the checkpoint."""
    config = held.get(CONFIG_KEY)
    if not config:
        raise ConfigError("Only a checkpoint of this trainer says which tower --vision-weights is for.")
    tower = make_tower(config["tower"]["name"], embed_dim)
    load_trunk(tower, vision_weights)
    head = {key.removeprefix(RELEASED_PREFIX): tensor for key, tensor in visual.items()}
    tower.visual.load_state_dict(head, strict=False)
    return {f"{RELEASED_PREFIX}{key}": tensor for key, tensor in tower.visual.state_dict().items()}
