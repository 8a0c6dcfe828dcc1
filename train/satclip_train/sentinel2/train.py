"""Train SatCLIP on tiles: read this file from top to bottom to know how."""

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
from .vision_towers import Tower, head_alone, load_tower

logger = logging.getLogger(__name__)
ProgressCallback = Callable[[int, int], None]
BEST = "best.ckpt"
_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
# What may differ between a run and its resumption; anything else would make another run of it.
_FREE = {"training.max_epochs", "training.patience", "data.tiles", "data.table", "data.workers", "cache.folder", "name"}
_FREE_SECTIONS = {"machine"}


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
        What to do, or the TOML file that says it.
    out : str or Path, optional
        The encoder to write, ``.safetensors`` or ``.ckpt`` in the released layout; ``runs/NAME.safetensors`` by
        default. Checkpoints and logs go beside it, into a folder of the same name ending in ``.run``.
    resume : bool
        Go on from the last checkpoint of that folder; from the beginning if there is none.
    vision_weights : Path, optional
        A file that takes the place of ``tower.weights``.
    progress : callable, optional
        Called with (batches done, batches in all).

    Returns
    -------
    Path
        The encoder: of the epoch with the lowest val_loss, or of the last where nothing is held out.

    Raises
    ------
    ConfigError
        If the configuration cannot be understood, or a run is there already and ``resume`` is not set.
    DataError
        If the data are missing or too many tiles are bad, or the loss stops being a number.
    """
    if not isinstance(config, S2Config):
        config = read_s2_config(config, vision_weights=vision_weights)
    path = Path(out) if out is not None else Path("runs") / f"{config.name}.safetensors"
    if path.suffix not in (".safetensors", ".ckpt"):
        raise ConfigError(f"The encoder would be written to {path}; expected a name in .safetensors or .ckpt.")
    folder = path.with_suffix(".run")
    last = folder / LAST
    if last.exists() and not resume:
        raise ConfigError(f"A run is in {folder} already. Go on with --resume, write elsewhere with -o, or delete it.")
    if last.exists():
        _check_same(config, last)
    started = time.perf_counter()
    data = CachedData(config) if config.from_cache else TilesData(config, folder)
    if isinstance(data, TilesData):
        tiles_of(config)  # data that are not there are said before weights are fetched
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
    """Return the tower of a run; from a cache its last layer alone, so that no weights are fetched."""
    if isinstance(data, CachedData):
        data.setup("fit")
        return head_alone(
            config.tower.name,
            data.cache.head_name,
            data.cache.dim_features,
            config.encoder.embed_dim,
            seed=config.seed,
        )
    return load_tower(config.tower.name, config.encoder.embed_dim, weights=config.tower.weights, seed=config.seed)


def make_trainer(config: S2Config, folder: Path, progress: ProgressCallback | None = None) -> Trainer:
    """Return the trainer of a run: its devices, callbacks and log."""
    machine, plan = config.machine, config.training
    accelerator = machine.accelerator
    if accelerator == "auto":  # nothing of Apple's, which has no float64
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if machine.precision == "16" and accelerator == "cpu":
        raise ConfigError("machine.precision is '16' on a CPU; expected '32' or 'bf16' there.")
    validated = config.data.validation_share > 0
    callbacks: list[Callback] = [
        *([_checkpoint(folder, BEST, "val_loss")] if validated else []),
        # Lightning's own save_last writes only where the best is written too; a resumed run would fall back to that.
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
    """Return what writes a checkpoint after each epoch, or after each that is better than all before."""
    return ModelCheckpoint(
        folder,
        filename=Path(name).stem,
        monitor=monitor,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )


class _Progress(Callback):
    """Tells how many batches are done."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._progress is not None and trainer.is_global_zero:
            each = int(trainer.num_training_batches)
            done = trainer.current_epoch * each + batch_idx + 1
            self._progress(done, each * int(trainer.max_epochs or 1))


def _logger(kind: str, folder: Path) -> Logger | Literal[False]:
    """Return where losses go; a resumed run adds a version."""
    if kind == "none":
        return False
    if kind == "csv":
        return CSVLogger(folder, name="logs")
    with require_extra("tensorboard", "train"):
        return TensorBoardLogger(folder, name="logs")


def _check_same(config: S2Config, last: Path) -> None:
    """Raise ConfigError if a checkpoint belongs to another run than the configuration describes."""
    held = read_checkpoint(last).get(CONFIG_KEY)
    if not isinstance(held, dict):
        raise EncoderError(f"{last} is not a checkpoint of this trainer.")
    now, then = _flat(dataclasses.asdict(config)), _flat(held)
    for key, value in now.items():
        if key not in _FREE and key.split(".")[0] not in _FREE_SECTIONS and then.get(key) != value:
            raise ConfigError(
                f"{last} was trained with {key} = {then.get(key)!r}, and the configuration says {value!r}. Put it "
                "back, or write elsewhere with -o."
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _record(config: S2Config, trainer: Trainer, left_out: str, encoder: Encoder, started: float) -> dict[str, Any]:
    """Return what is written beside an encoder."""
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
    """Leave out Lightning's advice, some of it by taking it; what matters is raised or told here."""
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32 where a GPU has it
    talkers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",  # the configuration says how many
            ".*Checkpoint directory .* exists and is not empty.*",  # it is resumed on purpose
            ".*in eval mode.*",  # the frozen trunk
            ".*val_dataloader.* is an empty|.*No `val_dataloader`.*|.*Total length of .* is zero.*",  # nothing held out
            ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",  # lightning's own use of torch
            ".*You defined a `validation_step` but have no `val_dataloader`.*",
            ".*GPU available but not used.*",  # machine.accelerator says so
        ):
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(matmul)
            for talker, level in zip(talkers, levels, strict=True):
                talker.setLevel(level)
