"""Training of a location encoder on global rasters; read this file from top to bottom."""

import json
import logging
import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from satclip_index.encoder.location_encoder import Encoder, Hyperparameters, Siren
from satclip_index.errors import DataError
from satclip_index.storage.atomic import atomic_file, atomic_path

from ..losses import ContrastiveHead
from .agreement import analogue_agreement
from .batches import Batch, Prefetcher, degree_weights, fresh_batches
from .config import Config, EncoderConfig, TrainingConfig, read_config
from .imagery import Imagery
from .point_sampling import PointSampler
from .position_bumps import PositionBumps
from .random_conv_tower import RandomConvTower
from .similarity_map import similarity_map

logger = logging.getLogger(__name__)
STORED_W0 = 30.0
"""``w0`` of the first layer of every saved encoder; another value is folded into the weights."""
VALIDATION_POINTS = 4096
SIMILARITY_SEED = 2  # separates the sample for the similarity map from the training points


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run: steps done and in all, the loss of the last step, and seconds since the first."""

    step: int
    steps: int
    loss: float
    elapsed_s: float


ProgressCallback = Callable[[Progress], None]


def train(
    config: Config | str | Path, *, out: str | Path | None = None, progress: ProgressCallback | None = None
) -> Path:
    """Train an encoder and write it.

    Parameters
    ----------
    config : Config, str or Path
        The configuration, or its TOML file.
    out : str or Path, optional
        The ``.safetensors`` file to write; ``runs/NAME.safetensors`` by default. Metrics are written beside it, to
        ``.json``.
    progress : callable, optional
        Called with a :class:`Progress` after every step.

    Returns
    -------
    Path
        The encoder. Nothing is written unless training succeeds.

    Raises
    ------
    ConfigError
        If the configuration is invalid.
    DataError
        If a raster is missing or unreadable, or the loss becomes NaN or infinite.
    """
    config = config if isinstance(config, Config) else read_config(config)
    path = Path(out) if out is not None else Path("runs") / f"{config.name}.safetensors"
    started = time.perf_counter()

    imagery = Imagery.read(
        december=config.data.december,
        july=config.data.july,
        elevation=config.data.elevation,
        night_lights=config.data.night_lights,
    )
    sampler = PointSampler(
        sea_share=config.points.sea_share,
        lit_share=config.points.lit_share,
        lights=imagery.lights,
        block_degrees=config.points.block_degrees,
        holdout_share=config.points.holdout_share,
        holdout_seed=config.seed,
    )
    rng = np.random.default_rng(config.seed)
    tower = RandomConvTower(
        imagery,
        scales=config.tower.scales,
        weights=config.tower.weights,
        filters=config.tower.filters,
        keep=config.tower.keep,
        shrinkage=config.tower.shrinkage,
        seed=config.seed,
    ).fit(*sampler.draw(config.tower.fit_points, rng))
    bumps = PositionBumps(
        *sampler.draw(config.position.anchors, rng),
        widths_km=config.position.widths_km,
        keep=config.position.keep,
        shrinkage=config.position.shrinkage,
    ).fit(*sampler.draw(config.tower.fit_points, rng))
    logger.info("The tower computes %d features; %.0f s so far.", tower.dim, time.perf_counter() - started)

    with Prefetcher(fresh_batches(config, sampler, tower, bumps, rng)) as batches:
        network, losses = fit(config, batches, tower.dim, bumps.dim, progress=progress)
    encoder = Encoder(
        fold_weights(network, config.encoder),
        Hyperparameters(
            legendre_polys=config.encoder.legendre_polys,
            capacity=config.encoder.capacity,
            num_hidden_layers=config.encoder.num_hidden_layers,
            embed_dim=config.encoder.embed_dim,
        ),
        name=config.name,
    )
    encoder = apply_similarity_map(encoder, config, sampler, tower)

    lon, lat = sampler.draw(
        VALIDATION_POINTS,
        np.random.default_rng(config.seed + 1),
        held_out=config.points.holdout_share > 0,
        land_only=True,
    )
    agreement = analogue_agreement(encoder.encode(lon, lat), tower.features(lon, lat), lon, lat)
    metrics = {
        "config": asdict(config) | {"data": {key: value.name for key, value in asdict(config.data).items()}},
        "loss": {"first": losses[0], "last": float(np.mean(losses[-50:]))},
        "analogue_agreement": agreement,
        "validation": "held-out blocks" if config.points.holdout_share > 0 else "fresh points, no block held out",
        "elapsed_s": round(time.perf_counter() - started, 1),
        "encoder_sha256": encoder.sha256,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        encoder.save(partial)
    with atomic_file(path.with_suffix(".json")) as file:
        file.write(f"{json.dumps(metrics, indent=2)}\n".encode())
    return path


def fit(
    config: Config,
    batches: Iterator[Batch],
    dim_features: int,
    dim_position: int,
    *,
    progress: ProgressCallback | None = None,
) -> tuple[Siren, list[float]]:
    """Return a trained network, not folded yet, and the loss of every step.

    Parameters
    ----------
    config : Config
        ``encoder``, ``training`` and ``seed`` are used.
    batches : iterator of Batch
        At least ``config.training.steps`` of them.
    dim_features, dim_position : int
        Width of the features of the tower, and of the functions of position.
    progress : callable, optional
        Called with a :class:`Progress` after every step.

    Raises
    ------
    DataError
        If the loss stops being a number.
    """
    shape, plan = config.encoder, config.training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = _make_siren(shape, dropout=shape.dropout, w0_first=shape.w0)
        head = ContrastiveHead(dim_features, shape.embed_dim, dim_position)
        optimizer = torch.optim.AdamW(parameter_groups(network, head, plan.weight_decay), lr=plan.learning_rate)
        losses, started = [], time.perf_counter()
        network.train()
        for step in range(plan.steps):
            batch = next(batches)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, plan)
            loss = head(
                network(batch.harmonics),
                batch.features,
                batch.position,
                temperature=plan.temperature,
                looks_weight=plan.looks_weight,
                position_weight=plan.position_weight,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise DataError(
                    f"The loss is {losses[-1]} at step {step + 1} of {plan.steps}; nothing was written. Lower "
                    f"training.learning_rate (now {plan.learning_rate:g}) or encoder.w0 (now {shape.w0:g})."
                )
            if progress is not None:
                progress(Progress(step + 1, plan.steps, losses[-1], time.perf_counter() - started))
    return network.eval(), losses


def learning_rate(step: int, plan: TrainingConfig) -> float:
    """Return the learning rate of a step: a linear warm-up, then half a cosine down to a hundredth."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    return plan.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def parameter_groups(network: Siren, head: ContrastiveHead, weight_decay: float) -> list[dict[str, object]]:
    """Return the parameters in two groups: matrices, with weight decay, and biases and the logit scale, without."""
    parameters = [*network.parameters(), *head.parameters()]
    return [
        {"params": [item for item in parameters if item.ndim > 1], "weight_decay": weight_decay},
        {"params": [item for item in parameters if item.ndim <= 1], "weight_decay": 0.0},
    ]


def _make_siren(shape: EncoderConfig, *, dropout: float = 0.0, w0_first: float = STORED_W0) -> Siren:
    return Siren(
        shape.legendre_polys**2,
        shape.capacity,
        shape.num_hidden_layers,
        shape.embed_dim,
        dropout=dropout,
        w0_first=w0_first,
    )


def fold_weights(network: Siren, shape: EncoderConfig) -> Siren:
    """Return the network with ``w0`` and the degree weights folded into its first layer, as it is saved."""
    plain = _make_siren(shape)
    state = {key: value.detach().clone() for key, value in network.state_dict().items()}
    state["layers.0.weight"] *= degree_weights(shape) * (shape.w0 / STORED_W0)
    state["layers.0.bias"] *= shape.w0 / STORED_W0
    plain.load_state_dict(state)
    return plain


def apply_similarity_map(encoder: Encoder, config: Config, sampler: PointSampler, tower: RandomConvTower) -> Encoder:
    """Return the encoder with the similarity map folded into its last layer."""
    plan, rng = config.similarity, np.random.default_rng([config.seed, SIMILARITY_SEED])
    anchors = sampler.draw(config.position.anchors, rng)
    bumps = PositionBumps(*anchors, widths_km=[plan.nearness_km])
    lon, lat = sampler.draw(plan.fit_points, rng)
    matrix, mean = similarity_map(
        encoder.encode(lon, lat),
        tower.features(lon, lat),
        bumps.raw_features(lon, lat),
        nearness_share=plan.nearness_share,
        rest_share=plan.rest_share,
    )
    state = {key: tensor.clone() for key, tensor in encoder.network.state_dict().items()}
    weight, bias = (state[f"last_layer.{part}"].double().numpy() for part in ("weight", "bias"))
    state["last_layer.weight"] = torch.from_numpy(matrix.T @ weight).float()
    state["last_layer.bias"] = torch.from_numpy((bias - mean) @ matrix).float()
    network = _make_siren(config.encoder)
    network.load_state_dict(state)
    return Encoder(network, encoder.hyperparameters, name=encoder.name)
