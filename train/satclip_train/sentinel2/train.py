"""Training of SatCLIP on tiles; read this file from top to bottom."""

import contextlib
import dataclasses
import logging
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from satclip_index.encoder.location_encoder import Encoder
from satclip_index.errors import ConfigError, EncoderError, one_line, require_extra

from .config import S2Config, read_s2_config
from .data_module import LAST, CachedData, TilesData
from .export import CONFIG_KEY, export, read_checkpoint
from .feature_cache import tiles_of, write_json
from .lightning_module import SatClipModule
from .lightning_parts import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LightningModule,
    Logger,
    MisconfigurationException,
    ModelCheckpoint,
    TensorBoardLogger,
    Trainer,
    lightning_version,
)
from .vision_towers import Tower, load_tower, make_head

logger = logging.getLogger(__name__)
ProgressCallback = Callable[[int, int], None]
BEST = "best.ckpt"
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
# Keys and sections that may change when a run is resumed.
_CHANGEABLE = {
    "training.max_epochs",
    "training.patience",
    "data.tiles",
    "data.table",
    "data.workers",
    "cache.folder",
    "name",
}
_CHANGEABLE_SECTIONS = {"machine"}


def train_on_tiles(
    config: S2Config | str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    vision_weights: Path | None = None,
    progress: ProgressCallback | None = None,
) -> Path:
    """Train an encoder on tiles, or on their cached features, and write it.

    Parameters
    ----------
    config : S2Config, str or Path
        The configuration, or its TOML file.
    out : str or Path, optional
        The encoder to write, ``.safetensors`` or ``.ckpt`` in the released layout; ``runs/NAME.safetensors`` by
        default. Checkpoints and logs are written beside it, to a folder with the suffix ``.run``.
    resume : bool
        Continue from the last checkpoint in that folder, or start if there is none.
    vision_weights : Path, optional
        A file of weights to use instead of ``tower.weights``.
    progress : callable, optional
        Called with (batches done, batches in all).

    Returns
    -------
    Path
        The encoder of the epoch with the lowest val_loss, or of the last epoch if nothing is held out.

    Raises
    ------
    ConfigError
        If the configuration is invalid, or the run exists already and ``resume`` is not set.
    DataError
        If data are missing, too many tiles are bad, or the loss becomes NaN or infinite.
    """
    if not isinstance(config, S2Config):
        config = read_s2_config(config, vision_weights=vision_weights)
    path = Path(out) if out is not None else Path("runs") / f"{config.name}.safetensors"
    if path.suffix not in (".safetensors", ".ckpt"):
        raise ConfigError(f"The suffix of {path} is {path.suffix!r}; expected .safetensors or .ckpt.")
    folder = path.with_suffix(".run")
    last = folder / LAST
    if last.exists() and not resume:
        raise ConfigError(
            f"{folder} already contains a run. Continue it with --resume, write elsewhere with -o, or delete it."
        )
    if last.exists():
        _check_same_run(config, last)
    started = time.perf_counter()
    data = CachedData(config) if config.from_cache else TilesData(config, folder)
    if isinstance(data, TilesData):
        tiles_of(config)  # reports missing data before weights are downloaded
    with quiet_lightning(), torch.random.fork_rng(devices=_cuda_devices()):
        trainer = make_trainer(config, folder, progress)
        tower = make_tower_for(config, data)
        trainer.fit(
            SatClipModule(config, tower),
            datamodule=data,
            ckpt_path=last if last.exists() else None,
            weights_only=True,
        )
        if trainer.is_global_zero:
            encoder = export(folder / (BEST if config.data.validation_share else LAST), path)
            write_json(path.with_suffix(".json"), _record(config, trainer, data.left_out, encoder, started))
        trainer.strategy.barrier()
    logger.info("%s.", data.left_out)
    return path


def make_tower_for(config: S2Config, data: CachedData | TilesData) -> Tower:
    """Return the tower of a run; from a cache, only its last layer, so that no weights are downloaded."""
    if isinstance(data, CachedData):
        data.setup("fit")
        return make_head(
            config.tower.name,
            data.cache.head_name,
            data.cache.dim_features,
            config.encoder.embed_dim,
            seed=config.seed,
        )
    return load_tower(config.tower.name, config.encoder.embed_dim, weights=config.tower.weights, seed=config.seed)


def make_trainer(config: S2Config, folder: Path, progress: ProgressCallback | None = None) -> Trainer:
    """Return the Lightning trainer of a run, with its devices, callbacks and log."""
    machine, plan = config.machine, config.training
    accelerator = machine.accelerator
    if accelerator == "auto":  # not mps, which has no float64
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if machine.precision == "16" and accelerator == "cpu":
        raise ConfigError("machine.precision is '16' on a CPU; expected '32' or 'bf16' there.")
    validated = config.data.validation_share > 0
    callbacks: list[Callback] = [
        *([_checkpoint(folder, BEST, "val_loss")] if validated else []),
        # Lightning's save_last writes only when the best checkpoint is written, and a resumed run would restart there.
        _checkpoint(folder, LAST, None),
        _Progress(progress),
    ]
    if plan.patience and validated:
        callbacks.append(EarlyStopping("val_loss", patience=plan.patience))
    try:
        return Trainer(
            accelerator=accelerator,
            devices=machine.devices,
            strategy="ddp" if machine.devices > 1 else "auto",
            precision=_PRECISIONS[machine.precision],  # type: ignore[arg-type]
            max_epochs=plan.max_epochs,
            accumulate_grad_batches=plan.accumulate,
            gradient_clip_val=plan.clip_norm or None,
            callbacks=callbacks,
            logger=_logger(machine.log, folder),
            log_every_n_steps=1,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(f"machine: {one_line(error)}") from None


def _checkpoint(folder: Path, name: str, monitor: str | None) -> ModelCheckpoint:
    """Return a callback that writes a checkpoint after each epoch, or after each with the best ``monitor`` so far."""
    return ModelCheckpoint(
        folder,
        filename=Path(name).stem,
        monitor=monitor,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )


class _Progress(Callback):
    """Reports the number of batches done."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._progress is not None and trainer.is_global_zero:
            per_epoch = int(trainer.num_training_batches)
            done = trainer.current_epoch * per_epoch + batch_idx + 1
            self._progress(done, per_epoch * int(trainer.max_epochs or 1))


def _logger(kind: str, folder: Path) -> Logger | Literal[False]:
    """Return the logger of losses; a resumed run adds a version."""
    if kind == "none":
        return False
    if kind == "csv":
        return CSVLogger(folder, name="logs")
    with require_extra("tensorboard", "train"):
        return TensorBoardLogger(folder, name="logs")


def _check_same_run(config: S2Config, last: Path) -> None:
    """Raise ConfigError if a checkpoint was trained with another configuration."""
    stored = read_checkpoint(last).get(CONFIG_KEY)
    if not isinstance(stored, dict):
        raise EncoderError(f"{last} is not a checkpoint of this trainer.")
    current, previous = _flatten(dataclasses.asdict(config)), _flatten(stored)
    for key, value in current.items():
        if key not in _CHANGEABLE and key.split(".")[0] not in _CHANGEABLE_SECTIONS and previous.get(key) != value:
            raise ConfigError(
                f"{last} was trained with {key} = {previous.get(key)!r}, but the configuration has {value!r}. "
                "Restore it, or write elsewhere with -o."
            )


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _record(config: S2Config, trainer: Trainer, left_out: str, encoder: Encoder, started: float) -> dict[str, Any]:
    """Return the metrics and settings to write beside an encoder."""
    losses = {key: float(value) for key, value in trainer.callback_metrics.items() if key.endswith("loss")}
    checkpoint = trainer.checkpoint_callback
    best = getattr(checkpoint, "best_model_score", None)
    return {
        "config": dataclasses.asdict(config),
        "tiles": left_out,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "last": losses,
        "best_val_loss": None if best is None or config.data.validation_share == 0 else float(best),
        "elapsed_s": round(time.perf_counter() - started, 1),
        "encoder_sha256": encoder.sha256,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": lightning_version,
        },
    }


def _cuda_devices() -> list[int]:
    return list(range(torch.cuda.device_count()))


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Suppress hints of Lightning within the block; what matters is raised or logged by this package."""
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs that have it
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [source.level for source in loggers]
    for source in loggers:
        source.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",  # the configuration sets it
            ".*Checkpoint directory .* exists and is not empty.*",  # resumed on purpose
            ".*in eval mode.*",  # the frozen trunk
            ".*val_dataloader.* is an empty|.*No `val_dataloader`.*|.*Total length of .* is zero.*",  # nothing held out
            ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # raised by Lightning itself
            ".*You defined a `validation_step` but have no `val_dataloader`.*",
            ".*GPU available but not used.*",  # machine.accelerator is cpu
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(matmul)
            for source, level in zip(loggers, levels, strict=True):
                source.setLevel(level)
