"""Vision towers for Sentinel-2 tiles: timm networks with MoCo weights, frozen but for their last layer."""

import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from satclip_index.errors import ConfigError, DataError, MissingExtraError
from torch import Tensor, nn

IN_CHANS = 13
CROP = {"vit_small_patch16_224": 224}
"""Pixels a side that a tower wants; others take whole tiles of 256."""

# Weights of SSL4EO-S12 (Wang et al. 2023, arXiv 2211.07044), as torchgeo publishes them: file and revision on the Hub.
MOCO = {
    "resnet18": ("resnet18_sentinel2_all_moco-59bfdff9.pth", "5b8cddc9a14f3844350b7f40b85bcd32aed75918"),
    "resnet50": ("resnet50_sentinel2_all_moco-df8b932e.pth", "da4f3c9dbe09272eb902f3b37f46635fa4726879"),
    "vit_small_patch16_224": (
        "vit_small_patch16_224_sentinel2_all_moco-67c9032d.pth",
        "1cb683f6c14739634cdfaaceb076529adf898c74",
    ),
}

_MOST_MISSING = 8
_DECLARED: list[torch.library.Library] = []  # torch forgets what a library declares when the library goes


class VisionTower(nn.Module):
    """A timm network whose trunk is frozen and whose classifier maps to an embedding.

    Parameters
    ----------
    name : str
        Any timm model, such as ``resnet18``.
    embed_dim : int
        Width of the embedding.
    in_chans : int
        Bands of an image.
    """

    def __init__(self, name: str, embed_dim: int, *, in_chans: int = IN_CHANS) -> None:
        super().__init__()
        timm = import_timm()
        if not timm.is_model(name):
            raise ConfigError(
                f"{name!r} is not a vision tower; expected random-conv, {', '.join(MOCO)} or another timm model."
            )
        self.name = name
        self.visual = timm.create_model(name, in_chans=in_chans, num_classes=embed_dim, pretrained=False)
        self.visual.requires_grad_(False)
        self.head.requires_grad_(True)

    @property
    def head(self) -> nn.Linear:
        """The last layer, the only one that trains."""
        head = self.visual.get_classifier()
        if not isinstance(head, nn.Linear):
            raise ConfigError(f"The last layer of {self.name} is {type(head).__name__}; expected a linear one.")
        return head

    @property
    def dim_features(self) -> int:
        """Width of what the trunk gives the head."""
        return int(self.head.in_features)

    def features(self, images: Tensor) -> Tensor:
        """Return what the frozen trunk sees, (n, dim_features), in images (n, bands, height, width)."""
        with torch.no_grad():
            out: Tensor = self.visual.forward_head(self.visual.forward_features(images), pre_logits=True)
        return out

    def forward(self, images: Tensor) -> Tensor:
        """Return the embedding of images, (n, embed_dim)."""
        out: Tensor = self.head(self.features(images))
        return out

    def train(self, mode: bool = True) -> "VisionTower":
        """Set the mode of the head; the frozen trunk keeps its statistics and stays in evaluation mode."""
        super().train(mode)
        self.visual.eval()
        self.head.train(mode)
        return self


def load_tower(name: str, embed_dim: int, *, weights: str = "moco", in_chans: int = IN_CHANS) -> VisionTower:
    """Return a tower with trained weights.

    Parameters
    ----------
    name : str
        A timm model.
    embed_dim : int
        Width of the embedding.
    weights : str
        ``moco`` for torchgeo's, from the Hub; ``none`` for random ones; or a file of a state dictionary.
    in_chans : int
        Bands of an image.

    Raises
    ------
    ConfigError
        If there is no such tower, or no MoCo weights for it.
    DataError
        If the weights cannot be fetched, read, or do not fit.
    """
    tower = VisionTower(name, embed_dim, in_chans=in_chans)
    if weights != "none":
        path = _moco_file(name) if weights == "moco" else Path(weights)
        _load_trunk(tower, path)
    return tower


def import_timm() -> Any:
    """Return the timm module.

    PyPI's torchvision is built for CUDA and will not load beside a CPU build of torch, though timm needs nothing of what
    is missing. The operators that torchvision then looks for in vain are declared here, so that it loads.
    """
    for _ in range(_MOST_MISSING):
        try:
            import timm
        except ImportError:
            raise MissingExtraError("timm", "train") from None
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise
            _DECLARED.append(torch.library.Library("torchvision", "FRAGMENT"))
            _DECLARED[-1].define(f"{missing[1]}(Tensor unused) -> Tensor")
            for loaded in [name for name in sys.modules if name.split(".")[0] in ("timm", "torchvision")]:
                del sys.modules[loaded]
        else:
            return timm
    raise MissingExtraError("a torchvision that fits this torch", "train")


def _moco_file(name: str) -> Path:
    if name not in MOCO:
        raise ConfigError(
            f"There are no MoCo weights for {name}; expected one of {', '.join(MOCO)}, weights none, or a file."
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    file, revision = MOCO[name]
    repository = f"torchgeo/{name}_sentinel2_all_moco"
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise DataError(
            f"{repository} is not on this machine and could not be fetched. Download {file} from the Hugging Face Hub and "
            "name it with --vision-weights FILE."
        ) from None


def _load_trunk(tower: VisionTower, path: Path) -> None:
    """Load every weight but the head's; a missing or ill-fitting one is an error."""
    if not path.is_file():
        raise DataError(f"No vision weights at {path}.")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read as weights ({' '.join(str(error).split())[:100]}).") from None
    state: Mapping[str, Tensor] = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    head = {id(parameter) for parameter in tower.head.parameters()}
    wanted = {
        name: tensor.shape for name, tensor in tower.visual.state_dict(keep_vars=True).items() if id(tensor) not in head
    }
    unfit = sorted(name for name, shape in wanted.items() if name not in state or state[name].shape != shape)
    if unfit:
        raise DataError(
            f"{path} does not fit {tower.name} with {len(wanted)} tensors: {len(unfit)} differ; first is {unfit[0]}."
        )
    tower.visual.load_state_dict({name: state[name] for name in wanted}, strict=False)
