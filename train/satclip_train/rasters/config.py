"""The configuration of training on global rasters, read from TOML."""

import dataclasses
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from ..toml_config import (
    AtLeast,
    Count,
    CountOrZero,
    Integer,
    NonEmpty,
    NonNegative,
    Number,
    Positive,
    Share,
    read_section,
    rule,
    section,
)

Group = Literal["colour", "season", "texture", "relief", "lights", "random", "sun"]
"""A group of features of the vision tower. The names are keys of configuration files, British spelling included."""
GROUPS: tuple[Group, ...] = get_args(Group)


@section
class DataConfig:
    """Where the rasters are; relative paths start at the configuration file."""

    december: Path
    july: Path
    elevation: Path
    night_lights: Path


@section
class PointsConfig:
    """Where training points are drawn; see :class:`satclip_train.rasters.point_sampling.PointSampler`."""

    sea_share: Share = 0.1
    lit_share: Share = 0.1
    holdout_share: Share = 0.0
    block_degrees: Positive = 6.0

    @rule
    def _check_shares(self) -> Self:
        if not self.sea_share + self.lit_share < 1:
            raise ValueError(f"sea_share + lit_share is {self.sea_share + self.lit_share:g}; expected less than 1")
        return self


@section
class Scale:
    """One size of patch: the length of its edge on the ground, and the number of samples along the edge."""

    size_km: Positive
    pixels: Annotated[Integer, AtLeast(3)]


@section
class TowerConfig:
    """Input and size of the vision tower; see :class:`satclip_train.rasters.random_conv_tower.RandomConvTower`."""

    scales: Annotated[tuple[Scale, ...], NonEmpty] = (
        Scale(size_km=50, pixels=8),
        Scale(size_km=150, pixels=10),
        Scale(size_km=450, pixels=12),
    )
    weights: dict[Group, Number] = field(default_factory=lambda: dict.fromkeys(GROUPS, 1.0))
    filters: Count = 48
    keep: Count = 24
    shrinkage: Number = 0.1
    fit_points: Count = 20000

    @rule
    def _check_weights(self) -> Self:
        if not any(weight > 0 for weight in self.weights.values()):
            raise ValueError("weights leaves out every group; expected at least one weight above 0")
        return self


@section
class PositionConfig:
    """The functions of position that the embedding should preserve.

    See :class:`satclip_train.rasters.position_bumps.PositionBumps`.
    """

    anchors: Count = 400
    widths_km: Annotated[tuple[Positive, ...], NonEmpty] = (800.0, 2500.0)
    keep: Count = 200
    shrinkage: Number = 1.0


@section
class EncoderConfig:
    """The location encoder.

    ``w0`` and ``degree_decay`` are folded into the first layer when the encoder is saved: harmonics of degree l enter
    with a weight proportional to ``(1 + l) ** -degree_decay``, so that a large L adds detail without adding noise.
    """

    legendre_polys: Count = 40
    capacity: Count = 512
    num_hidden_layers: Count = 2
    embed_dim: Count = 256
    w0: Positive = 30.0
    degree_decay: Number = 0.0
    dropout: Share = 0.0


@section
class TrainingConfig:
    """The optimization."""

    steps: Count = 2000
    batch_size: Count = 2048
    learning_rate: Positive = 1e-3
    warmup_steps: CountOrZero = 100
    weight_decay: NonNegative = 0.01
    temperature: NonNegative = 0.1
    looks_weight: NonNegative = 0.0
    position_weight: NonNegative = 0.0


@section
class SimilarityConfig:
    """What the cosine of two embeddings measures; see :func:`satclip_train.rasters.similarity_map.similarity_map`."""

    nearness_share: NonNegative = 0.1
    nearness_km: Positive = 800.0
    rest_share: Positive = 0.03
    fit_points: Count = 20000


@section
class Config:
    """Everything that a training run depends on."""

    name: str
    data: DataConfig
    points: PointsConfig = PointsConfig()
    tower: TowerConfig = field(default_factory=TowerConfig)
    position: PositionConfig = PositionConfig()
    encoder: EncoderConfig = EncoderConfig()
    training: TrainingConfig = TrainingConfig()
    similarity: SimilarityConfig = SimilarityConfig()
    seed: CountOrZero = 0


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
        If the file is missing or not TOML, or a key is unknown, missing, of the wrong type or out of range. Each
        mistake is listed with its key, its value and what was expected.
    """
    config = read_section(path, Config)
    folder = Path(path).resolve().parent
    data = DataConfig(
        **{item.name: folder / getattr(config.data, item.name) for item in dataclasses.fields(DataConfig)}
    )
    return dataclasses.replace(config, data=data)
