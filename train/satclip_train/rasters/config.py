"""The configuration of a training run: frozen dataclasses, read from TOML."""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from satclip_index.errors import ConfigError

from ..toml_config import _build
from .random_conv_tower import GROUPS, Scale


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where the rasters are; relative paths start at the configuration file."""

    december: Path
    july: Path
    elevation: Path
    night_lights: Path


@dataclass(frozen=True, slots=True)
class PointsConfig:
    """Which points are drawn; see :class:`satclip_train.rasters.point_sampling.PointSampler`."""

    sea_share: float = 0.1
    lit_share: float = 0.1
    holdout_share: float = 0.0
    block_degrees: float = 6.0


@dataclass(frozen=True, slots=True)
class TowerConfig:
    """What the vision tower sees; see :class:`satclip_train.rasters.random_conv_tower.RandomConvTower`."""

    scales: tuple[Scale, ...] = (Scale(50, 8), Scale(150, 10), Scale(450, 12))
    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(GROUPS, 1.0))
    filters: int = 48
    keep: int = 24
    shrinkage: float = 0.1
    fit_points: int = 20000


@dataclass(frozen=True, slots=True)
class PositionConfig:
    """Which functions of position the embedding should keep.

    See :class:`satclip_train.rasters.position_bumps.PositionBumps`.
    """

    anchors: int = 400
    widths_km: tuple[float, ...] = (800.0, 2500.0)
    keep: int = 200
    shrinkage: float = 1.0


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The location encoder.

    ``w0`` and ``degree_decay`` are folded into the first layer when the encoder is saved: harmonics of degree l enter
    with a weight proportional to ``(1 + l) ** -degree_decay``, so that a large L adds detail without adding noise.
    """

    legendre_polys: int = 40
    capacity: int = 512
    num_hidden_layers: int = 2
    embed_dim: int = 256
    w0: float = 30.0
    degree_decay: float = 0.0
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """The optimisation."""

    steps: int = 2000
    batch_size: int = 2048
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    temperature: float = 0.1
    looks_weight: float = 0.0
    position_weight: float = 0.0


@dataclass(frozen=True, slots=True)
class SimilarityConfig:
    """What a cosine should mean; see :func:`satclip_train.rasters.similarity_map.similarity_map`."""

    nearness_share: float = 0.1
    nearness_km: float = 800.0
    rest_share: float = 0.03
    fit_points: int = 20000


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a training run depends on."""

    name: str
    data: DataConfig
    points: PointsConfig = PointsConfig()
    tower: TowerConfig = field(default_factory=TowerConfig)
    position: PositionConfig = PositionConfig()
    encoder: EncoderConfig = EncoderConfig()
    training: TrainingConfig = TrainingConfig()
    similarity: SimilarityConfig = SimilarityConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        encoder, training, points, tower = self.encoder, self.training, self.points, self.tower
        positive: dict[str, float] = {
            "encoder.legendre_polys": encoder.legendre_polys,
            "encoder.capacity": encoder.capacity,
            "encoder.num_hidden_layers": encoder.num_hidden_layers,
            "encoder.embed_dim": encoder.embed_dim,
            "encoder.w0": encoder.w0,
            "training.steps": training.steps,
            "training.batch_size": training.batch_size,
            "training.learning_rate": training.learning_rate,
            "position.anchors": self.position.anchors,
            "position.keep": self.position.keep,
            "position.widths_km": min(self.position.widths_km, default=0.0),
            "similarity.nearness_km": self.similarity.nearness_km,
            "similarity.rest_share": self.similarity.rest_share,
            "similarity.fit_points": self.similarity.fit_points,
            "tower.filters": tower.filters,
            "tower.keep": tower.keep,
            "tower.fit_points": tower.fit_points,
            "points.block_degrees": points.block_degrees,
            **{f"tower.scales[{at}].size_km": scale.size_km for at, scale in enumerate(tower.scales)},
            **{f"tower.scales[{at}].pixels - 2": scale.pixels - 2 for at, scale in enumerate(tower.scales)},
        }
        for key, value in positive.items():
            if not value > 0:
                raise ConfigError(f"{key} is {value:g}; expected more than 0.")
        shares = {
            "points.sea_share + points.lit_share": points.sea_share + points.lit_share,
            "points.holdout_share": points.holdout_share,
            "encoder.dropout": encoder.dropout,
        }
        for key, value in shares.items():
            if not 0 <= value < 1:
                raise ConfigError(f"{key} is {value:g}; expected a share of at least 0 and less than 1.")
        unknown = sorted(tower.weights.keys() - set(GROUPS))
        if unknown or not any(weight > 0 for weight in tower.weights.values()):
            raise ConfigError(
                f"tower.weights has {unknown[0]!r}, which is no group of features; "
                f"expected some of {', '.join(GROUPS)}."
                if unknown
                else "tower.weights leaves out every group; give at least one a weight above 0."
            )
        for key, value in {
            "points.sea_share": points.sea_share,
            "points.lit_share": points.lit_share,
            "similarity.nearness_share": self.similarity.nearness_share,
            "training.temperature": training.temperature,
            "training.looks_weight": training.looks_weight,
            "training.position_weight": training.position_weight,
            "training.warmup_steps": training.warmup_steps,
            "training.weight_decay": training.weight_decay,
            "seed": self.seed,
        }.items():
            if not value >= 0:
                raise ConfigError(f"{key} is {value:g}; expected at least 0.")
        if not tower.scales:
            raise ConfigError("tower.scales is empty; expected at least one, such as {size_km = 150, pixels = 10}.")


def read_config(path: str | Path) -> Config:
    """Return the configuration in a TOML file.

    Parameters
    ----------
    path : str or Path
        Its tables and keys are the fields of :class:`Config`.

    Returns
    -------
    Config
        With the paths of ``data`` made absolute.

    Raises
    ------
    ConfigError
        If the file is missing or not TOML, or a key is unknown, missing, or of the wrong type; the key is named.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"No configuration at {path}. Start from train/configs/bluemarble.toml.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not a readable TOML file: {error}.") from None
    try:
        config = _build(Config, values, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    folder = path.resolve().parent
    located = {item.name: folder / getattr(config.data, item.name) for item in dataclasses.fields(DataConfig)}
    return dataclasses.replace(config, data=DataConfig(**located))
