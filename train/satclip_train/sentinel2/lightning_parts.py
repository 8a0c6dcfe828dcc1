"""The names used from Lightning; no other module imports it."""

from satclip_index.errors import require_extra

from .torchvision_stubs import import_torchvision

import_torchvision()  # Lightning's torchmetrics imports it

with require_extra("lightning", "train"):
    from lightning import __version__ as lightning_version
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
    from lightning.pytorch.utilities.types import OptimizerLRScheduler

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "LightningDataModule",
    "LightningModule",
    "Logger",
    "MisconfigurationException",
    "ModelCheckpoint",
    "OptimizerLRScheduler",
    "TensorBoardLogger",
    "Trainer",
    "lightning_version",
]
