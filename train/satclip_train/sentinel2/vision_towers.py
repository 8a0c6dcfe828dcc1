"""Vision towers for Sentinel-2 tiles: frozen networks with a trainable linear layer as the last one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from satclip_index.errors import ConfigError, DataError, one_line, require_extra

from .random_conv_tower import FILTERS, POOLS, RandomConv
from .tiles import TILE_PIXELS
from .torchvision_stubs import import_torchvision

IN_CHANS = 13
RANDOM_CONV = "random-conv"

# Weights of SSL4EO-S12 (Wang et al. 2023, arXiv 2211.07044), published by torchgeo: file and revision on the Hub.
MOCO = {
    "resnet18": ("resnet18_sentinel2_all_moco-59bfdff9.pth", "5b8cddc9a14f3844350b7f40b85bcd32aed75918"),
    "resnet50": ("resnet50_sentinel2_all_moco-df8b932e.pth", "da4f3c9dbe09272eb902f3b37f46635fa4726879"),
    "vit_small_patch16_224": (
        "vit_small_patch16_224_sentinel2_all_moco-67c9032d.pth",
        "1cb683f6c14739634cdfaaceb076529adf898c74",
    ),
}
RELEASED_PREFIX = "model.visual."


class Tower:
    """A network with a frozen trunk and a trainable last layer, the head, whose output is an embedding.

    This class is not a module, so that the tensors of ``visual`` keep their names where ``visual`` is registered.

    Parameters
    ----------
    name : str
        ``random-conv`` or a timm model.
    visual : nn.Module
        The network, or only its last layer when training from a cache.
    head_name : str
        Name of the last layer in ``visual``, such as ``fc``.
    crop : int
        Edge of the input images, in pixels.
    """

    def __init__(self, name: str, visual: nn.Module, head_name: str, *, crop: int = TILE_PIXELS) -> None:
        self.name, self.visual, self.head_name, self.crop = name, visual, head_name, crop
        self.visual.requires_grad_(False)
        self.head.requires_grad_(True)
        self.freeze()

    @property
    def head(self) -> nn.Linear:
        """The last layer, the only trainable one."""
        head = self.visual.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear)
        return head

    @property
    def dim_features(self) -> int:
        """Width of the features of the trunk."""
        return self.head.in_features

    def freeze(self) -> None:
        """Put the trunk into evaluation mode, so that its statistics do not change."""
        self.visual.eval()

    def features(self, images: Tensor) -> Tensor:
        """Return the features, (n, dim_features), of images, (n, bands, crop, crop), by the frozen trunk."""
        visual: Any = self.visual
        with torch.no_grad():
            out: Tensor = visual.forward_features(images)
            return out if isinstance(visual, RandomConv) else visual.forward_head(out, pre_logits=True)


def make_tower(name: str, embed_dim: int, *, seed: int = 0, in_chans: int = IN_CHANS) -> Tower:
    """Return a tower with random weights, the same for the same seed.

    Parameters
    ----------
    name : str
        ``random-conv``, or any timm model, such as ``resnet18``.
    embed_dim : int
        Width of the embedding.
    seed : int
        Seed of the weights.
    in_chans : int
        Number of bands of an image.

    Raises
    ------
    ConfigError
        If the tower is unknown, or its last layer is not linear.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == RANDOM_CONV:
            return Tower(name, RandomConv(embed_dim), "fc")
        timm = import_timm()
        if not timm.is_model(name):
            raise ConfigError(
                f"tower.name is {name!r}; expected {RANDOM_CONV}, {', '.join(MOCO)} or another timm model."
            )
        visual = timm.create_model(name, in_chans=in_chans, num_classes=embed_dim, pretrained=False)
    head = visual.get_classifier()
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"The last layer of {name} is {type(head).__name__}; expected Linear.")
    defaults = visual.pretrained_cfg
    crop = defaults["input_size"][-1] if defaults.get("fixed_input_size") else TILE_PIXELS
    return Tower(name, visual, next(key for key, module in visual.named_modules() if module is head), crop=crop)


def load_tower(name: str, embed_dim: int, *, weights: str = "moco", seed: int = 0) -> Tower:
    """Return a tower with trained weights.

    Parameters
    ----------
    name : str
        ``random-conv``, which ignores ``weights``, or a timm model.
    embed_dim : int
        Width of the embedding.
    weights : str
        ``moco`` for those of torchgeo, from the Hub; ``none`` for random weights; or a file with a state dictionary.
    seed : int
        Seed of random weights.

    Raises
    ------
    ConfigError
        If the tower is unknown, or has no MoCo weights.
    DataError
        If the weights cannot be fetched or read, or do not fit.
    """
    tower = make_tower(name, embed_dim, seed=seed)
    if name != RANDOM_CONV and weights != "none":
        load_trunk(tower, _moco_file(name) if weights == "moco" else Path(weights))
    return tower


def make_head(name: str, head_name: str, dim_features: int, embed_dim: int, *, seed: int = 0) -> Tower:
    """Return a tower that is only its last layer, under the same name, for features that are already computed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inner: nn.Module = nn.Linear(dim_features, embed_dim)
    for part in reversed(head_name.split(".")):
        outer = nn.Module()
        outer.add_module(part, inner)
        inner = outer
    return Tower(name, inner, head_name)


def identify_weights(name: str, weights: str, seed: int) -> str:
    """Return text that identifies the weights of a trunk, without loading them."""
    if name == RANDOM_CONV:
        return f"{FILTERS} filters over {', '.join(map(str, POOLS))} pixels, seed 0"
    if weights == "none":
        return f"random, seed {seed}"
    if weights == "moco":
        file, revision = MOCO.get(name, ("moco", ""))
        return f"{file}@{revision}"
    path = Path(weights)
    if not path.is_file():
        raise DataError(f"No vision weights at {path}.")
    with path.open("rb") as file_object:
        return f"sha256 {hashlib.file_digest(file_object, 'sha256').hexdigest()}"


def import_timm() -> Any:
    """Return the timm module."""
    import_torchvision()
    with require_extra("timm", "train"):
        import timm
    return timm


def _moco_file(name: str) -> Path:
    if name not in MOCO:
        raise ConfigError(
            f"There are no MoCo weights for {name}; expected one of {', '.join(MOCO)}, or weights 'none', or a file."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    file, revision = MOCO[name]
    repository = f"torchgeo/{name}_sentinel2_all_moco"
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[file])) / file
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise DataError(
            f"{repository} is not cached and could not be downloaded. Download {file} from the Hugging Face Hub, and "
            "pass it with --vision-weights FILE."
        ) from None


def load_trunk(tower: Tower, path: Path) -> None:
    """Load all weights but those of the head from a state dictionary, or from a checkpoint in the released layout.

    Raises
    ------
    DataError
        If the file cannot be read, or a tensor is missing or has another shape; the first is named.
    """
    if not path.is_file():
        raise DataError(f"No vision weights at {path}.")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # other files fail in many ways; with weights_only, none of them runs code
        raise DataError(f"{path} cannot be read as weights ({one_line(error)}).") from None
    state: Mapping[str, Tensor] = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    if any(key.startswith(RELEASED_PREFIX) for key in state):
        state = {key.removeprefix(RELEASED_PREFIX): tensor for key, tensor in state.items()}
    trunk = {
        key: tensor
        for key, tensor in tower.visual.state_dict().items()
        if not key.startswith(f"{tower.head_name}.") and not key.endswith("num_batches_tracked")
    }
    unfit = sorted(key for key, tensor in trunk.items() if key not in state or state[key].shape != tensor.shape)
    if unfit:
        raise DataError(
            f"{path} does not fit {tower.name}: {len(unfit)} of {len(trunk)} tensors differ; first is {unfit[0]}."
        )
    tower.visual.load_state_dict({key: state[key] for key in trunk}, strict=False)
