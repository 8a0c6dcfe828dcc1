"""The configuration of a run on Sentinel-2 tiles: frozen dataclasses, read from TOML."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from satclip_index.encoder.spherical_harmonics import CONVENTIONS
from satclip_index.errors import ConfigError, DataError

from ..toml_config import _build, read_toml
from .splits import SPLITS

LOSSES = ("clip", "soft", "siglip")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("32", "bf16", "16")
LOGS = ("csv", "tensorboard", "none")


@dataclass(frozen=True, slots=True)
class TilesConfig:
    """Where the tiles are and which are held out; relative paths start at the configuration file."""

    tiles: str
    table: str = ""  # index.csv beside the tiles, if empty
    offset: int = 0  # 1000 for images that were not harmonised
    max_bad_share: float = 0.05
    split: str = "random"
    validation_share: float = 0.1
    block_degrees: float = 10.0
    workers: int = 0  # processes that read tiles


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The frozen tower; see :func:`satclip_train.sentinel2.vision_towers.load_tower`."""

    name: str = "resnet18"
    weights: str = "moco"  # or none, or a file


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """The features of the frozen tower, computed once; an empty folder means training end to end."""

    folder: str = ""
    views: int = 8
    shard_tiles: int = 1024
    batch_size: int = 64
    dtype: str = "float16"


@dataclass(frozen=True, slots=True)
class LocationConfig:
    """The location encoder, by the names of the released checkpoints."""

    legendre_polys: int = 10
    harmonics_calculation: str = "analytic"
    capacity: int = 512
    num_hidden_layers: int = 2
    embed_dim: int = 256
    dropout: float = 0.5


@dataclass(frozen=True, slots=True)
class OptimConfig:
    """The optimisation; the defaults are the released recipe.

    ``batch_size`` counts the pairs that compete, over all devices together.
    """

    loss: str = "clip"
    temperature: float = 0.1  # of soft targets
    batch_size: int = 512
    accumulate: int = 16
    max_epochs: int = 500
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    schedule: str = "constant"
    warmup_steps: int = 0
    clip_norm: float = 0.0  # 0: gradients are not clipped
    patience: int = 0  # epochs without a better val_loss before stopping; 0: never
    jitter_degrees: float = 0.01


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """Where and how it runs."""

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32"
    log: str = "csv"


@dataclass(frozen=True, slots=True)
class S2Config:
    """Everything a run on tiles depends on."""

    name: str
    data: TilesConfig
    tower: VisionConfig = VisionConfig()
    cache: CacheConfig = CacheConfig()
    encoder: LocationConfig = field(default_factory=LocationConfig)
    training: OptimConfig = OptimConfig()
    machine: MachineConfig = MachineConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        training = self.training
        for key, value, known in (
            ("data.split", self.data.split, SPLITS),
            ("cache.dtype", self.cache.dtype, ("float16", "float32")),
            ("encoder.harmonics_calculation", self.encoder.harmonics_calculation, CONVENTIONS),
            ("training.loss", training.loss, LOSSES),
            ("training.schedule", training.schedule, SCHEDULES),
            ("machine.precision", self.machine.precision, PRECISIONS),
            ("machine.log", self.machine.log, LOGS),
        ):
            if value not in known:
                raise ConfigError(f"{key} is {value!r}; expected {', '.join(known[:-1])} or {known[-1]}.")
        at_least_one = {
            **{f"cache.{name}": getattr(self.cache, name) for name in ("views", "shard_tiles", "batch_size")},
            **{f"encoder.{name}": getattr(self.encoder, name) for name in _WHOLE},
            **{f"training.{name}": getattr(training, name) for name in ("batch_size", "accumulate", "max_epochs")},
            **{f"machine.{name}": getattr(self.machine, name) for name in ("devices",)},
        }
        for key, value in at_least_one.items():
            if value < 1:
                raise ConfigError(f"{key} is {value}; expected at least 1.")
        shares = {
            "data.validation_share": self.data.validation_share,
            "data.max_bad_share": self.data.max_bad_share,
            "encoder.dropout": self.encoder.dropout,
        }
        for key, share in shares.items():
            if not 0 <= share < 1:
                raise ConfigError(f"{key} is {share:g}; expected a share of at least 0 and less than 1.")
        for key, amount, positive in (
            ("data.block_degrees", self.data.block_degrees, True),
            ("training.learning_rate", training.learning_rate, True),
            ("training.temperature", training.temperature, False),
            ("training.weight_decay", training.weight_decay, False),
            ("training.warmup_steps", training.warmup_steps, False),
            ("training.clip_norm", training.clip_norm, False),
            ("training.patience", training.patience, False),
            ("training.jitter_degrees", training.jitter_degrees, False),
            ("data.workers", self.data.workers, False),
            ("data.offset", self.data.offset, False),
            ("seed", self.seed, False),
        ):
            if not (amount > 0 if positive else amount >= 0):
                raise ConfigError(f"{key} is {amount:g}; expected {'more than' if positive else 'at least'} 0.")
        if training.batch_size < 2 * self.machine.devices:
            raise ConfigError(
                f"training.batch_size is {training.batch_size} over {self.machine.devices} devices; expected at least "
                "2 pairs on each."
            )

    @property
    def from_cache(self) -> bool:
        """Whether the run takes its features from a cache."""
        return bool(self.cache.folder)


_WHOLE = ("legendre_polys", "capacity", "num_hidden_layers", "embed_dim")


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
        A file that takes the place of ``tower.weights``.

    Returns
    -------
    S2Config
        With paths made absolute.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or a key is unknown, missing, or of the wrong type; the key is named.
    DataError
        If there are no such vision weights.
    """
    values = read_toml(path)
    try:
        config = _build(S2Config, values, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    folder = Path(path).resolve().parent

    def located(text: str) -> str:
        return str(folder / Path(text).expanduser()) if text else ""

    weights = config.tower.weights
    if vision_weights is not None:
        if not vision_weights.is_file():
            raise DataError(f"No vision weights at {vision_weights}.")
        weights = str(vision_weights.resolve())
    elif weights not in ("moco", "none"):
        weights = located(weights)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, tiles=located(config.data.tiles), table=located(config.data.table)),
        tower=dataclasses.replace(config.tower, weights=weights),
        cache=dataclasses.replace(config.cache, folder=located(config.cache.folder)),
    )
