"""The configuration of a run on Sentinel-2 tiles, read from TOML."""

import dataclasses
from pathlib import Path
from typing import Literal, Self, get_args

from satclip_index.encoder.spherical_harmonics import Convention
from satclip_index.errors import DataError

from ..toml_config import Count, CountOrZero, NonNegative, Positive, Share, read_section, read_toml, rule, section

Loss = Literal["clip", "soft", "siglip"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


@section
class TilesConfig:
    """Where the tiles are and which are held out; relative paths start at the configuration file."""

    tiles: str
    table: str = ""  # index.csv beside the tiles, if empty
    offset: CountOrZero = 0  # 1000 for images that were not harmonized
    max_bad_share: Share = 0.05
    split: Literal["random", "blocked"] = "random"
    validation_share: Share = 0.1
    block_degrees: Positive = 10.0
    workers: CountOrZero = 0  # processes that read tiles


@section
class VisionConfig:
    """The frozen tower; see :func:`satclip_train.sentinel2.vision_towers.load_tower`."""

    name: str = "resnet18"
    weights: str = "moco"  # or none, or a file


@section
class CacheConfig:
    """The features of the frozen tower, computed once; an empty folder means training end to end."""

    folder: str = ""
    views: Count = 8
    shard_tiles: Count = 1024
    batch_size: Count = 64
    dtype: Literal["float16", "float32"] = "float16"


@section
class LocationConfig:
    """The location encoder; the fields have the names of the released checkpoints."""

    legendre_polys: Count = 10
    harmonics_calculation: Convention = "analytic"
    capacity: Count = 512
    num_hidden_layers: Count = 2
    embed_dim: Count = 256
    dropout: Share = 0.5


@section
class OptimConfig:
    """The optimization; the defaults are the released recipe.

    ``batch_size`` counts the pairs that are contrasted with each other, over all devices together.
    """

    loss: Loss = "clip"
    temperature: NonNegative = 0.1  # of soft targets
    batch_size: Count = 512
    accumulate: Count = 16
    max_epochs: Count = 500
    learning_rate: Positive = 1e-4
    weight_decay: NonNegative = 0.01
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: CountOrZero = 0
    clip_norm: NonNegative = 0.0  # 0: gradients are not clipped
    patience: CountOrZero = 0  # epochs without a lower val_loss before stopping; 0: never
    jitter_degrees: NonNegative = 0.01


@section
class MachineConfig:
    """The devices, the precision and the log."""

    accelerator: str = "auto"
    devices: Count = 1
    precision: Literal["32", "bf16", "16"] = "32"
    log: Literal["csv", "tensorboard", "none"] = "csv"


@section
class S2Config:
    """Everything that a run on tiles depends on."""

    name: str
    data: TilesConfig
    tower: VisionConfig = VisionConfig()
    cache: CacheConfig = CacheConfig()
    encoder: LocationConfig = LocationConfig()
    training: OptimConfig = OptimConfig()
    machine: MachineConfig = MachineConfig()
    seed: CountOrZero = 0

    @rule
    def _check_batch_size(self) -> Self:
        size, devices = self.training.batch_size, self.machine.devices
        if size < 2 * devices:
            raise ValueError(f"training.batch_size is {size} over {devices} devices; expected at least 2 pairs on each")
        return self

    @property
    def from_cache(self) -> bool:
        """Whether the run reads features from a cache."""
        return bool(self.cache.folder)


def is_tiles_config(path: str | Path) -> bool:
    """Return whether a configuration trains on tiles; others train on global rasters."""
    data = read_toml(path).get("data")
    return isinstance(data, dict) and "tiles" in data


def read_s2_config(path: str | Path, *, vision_weights: Path | None = None) -> S2Config:
    """Return the configuration in a TOML file.

    Parameters
    ----------
    path : str or Path
        Its tables and keys are the fields of :class:`S2Config`.
    vision_weights : Path, optional
        A file of weights to use instead of ``tower.weights``.

    Returns
    -------
    S2Config
        With absolute paths.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or a key is unknown, missing, of the wrong type or out of range. Each
        mistake is listed with its key, its value and what was expected.
    DataError
        If ``vision_weights`` is missing.
    """
    config = read_section(path, S2Config)
    folder = Path(path).resolve().parent

    def absolute(text: str) -> str:
        return str(folder / Path(text).expanduser()) if text else ""

    weights = config.tower.weights
    if vision_weights is not None:
        if not vision_weights.is_file():
            raise DataError(f"No vision weights at {vision_weights}.")
        weights = str(vision_weights.resolve())
    elif weights not in ("moco", "none"):
        weights = absolute(weights)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, tiles=absolute(config.data.tiles), table=absolute(config.data.table)),
        tower=dataclasses.replace(config.tower, weights=weights),
        cache=dataclasses.replace(config.cache, folder=absolute(config.cache.folder)),
    )
