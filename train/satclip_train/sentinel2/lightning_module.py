"""The network and its training step, for Lightning."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from satclip_index.encoder.location_encoder import Hyperparameters, Siren
from satclip_index.encoder.spherical_harmonics import Convention, real_harmonics
from satclip_index.errors import DataError

from .augment import Views, center_crop, derive_seed, jitter, reflectance
from .config import OptimConfig, S2Config
from .data_module import Batch
from .export import CONFIG_KEY, released_hyperparameters
from .lightning_parts import LightningModule, OptimizerLRScheduler
from .losses import SIGLIP_LOGIT_BIAS, batch_loss, initial_logit_scale
from .vision_towers import Tower

_STEP_STREAM = 0x53544550
_MAX_NAMED_TILES = 3


class Location(nn.Module):
    """The location encoder; its network is ``nnet``, as in the released checkpoints."""

    def __init__(self, nnet: Siren, legendre_polys: int, convention: Convention) -> None:
        super().__init__()
        self.nnet = nnet
        self.legendre_polys, self.convention = legendre_polys, convention

    def forward(self, lon: Tensor, lat: Tensor) -> Tensor:
        """Return raw embeddings, (n, embed_dim), of points in float64 degrees; harmonics ignore autocast."""
        with torch.autocast(lon.device.type, enabled=False):
            dtype = self.nnet.last_layer.weight.dtype
            harmonics = real_harmonics(lon, lat, self.legendre_polys, self.convention, dtype=dtype)
        out: Tensor = self.nnet(harmonics.T)
        return out


class SatClip(nn.Module):
    """Both encoders and the logit scale, with the names of tensors in the released checkpoints."""

    def __init__(self, config: S2Config, tower: Tower) -> None:
        super().__init__()
        shape = config.encoder
        self.visual = tower.visual
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            nnet = Siren(
                shape.legendre_polys**2,
                shape.capacity,
                shape.num_hidden_layers,
                shape.embed_dim,
                dropout=shape.dropout,
            )
        self.location = Location(nnet, shape.legendre_polys, shape.harmonics_calculation)
        self.nnet = nnet
        loss = config.training.loss
        self.logit_scale = nn.Parameter(torch.tensor(initial_logit_scale(loss)))
        self.logit_bias = nn.Parameter(torch.tensor(SIGLIP_LOGIT_BIAS)) if loss == "siglip" else None


class SatClipModule(LightningModule):
    """SatCLIP with its training and validation steps.

    Parameters
    ----------
    config : S2Config
        The configuration of the run.
    tower : Tower
        The vision tower, or only its last layer when training from a cache.

    Notes
    -----
    All random draws of a step (views, points and dropout) use a seed derived from the seed of the run, the epoch, the
    batch and the process. A run that is killed and resumed therefore continues exactly as without the interruption.
    """

    def __init__(self, config: S2Config, tower: Tower) -> None:
        super().__init__()
        self.config, self.tower = config, tower
        self.model = SatClip(config, tower)
        self.views = None if config.from_cache else Views(tower.crop)
        shape = config.encoder
        hyperparameters = Hyperparameters(
            legendre_polys=shape.legendre_polys,
            capacity=shape.capacity,
            num_hidden_layers=shape.num_hidden_layers,
            embed_dim=shape.embed_dim,
            harmonics_calculation=shape.harmonics_calculation,
        )
        self.save_hyperparameters(
            released_hyperparameters(
                hyperparameters,
                tower=tower.name,
                crop=tower.crop,
                learning_rate=config.training.learning_rate,
                weight_decay=config.training.weight_decay,
            )
        )

    def train(self, mode: bool = True) -> "SatClipModule":
        """Set the training mode; the frozen trunk stays in evaluation mode."""
        super().train(mode)
        self.tower.freeze()
        return self

    def image_features(self, batch: Batch) -> Tensor:
        """Return the features of a batch by the frozen trunk, cached or computed."""
        if "features" in batch:
            features: Tensor = batch["features"]
            return features
        images = reflectance(batch["images"], offset=self.config.data.offset)
        images = (
            self.views(images) if self.training and self.views is not None else center_crop(images, self.tower.crop)
        )
        return self.tower.features(images)

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the loss of a batch; pairs of all processes are contrasted with each other."""
        lon, lat = batch["lon"], batch["lat"]
        assert lon.dtype == lat.dtype == torch.float64
        if self.training:
            lon, lat = jitter(lon, lat, degrees=self.config.training.jitter_degrees)
        places = self.model.location(lon, lat)
        features = self.image_features(batch)
        images = self.tower.head(features.to(self.tower.head.weight.dtype))
        if self.trainer.world_size > 1:
            places, images = self._gather(places), self._gather(images)
            features = self._gather(features) if self.config.training.loss == "soft" else features
        with torch.autocast(lon.device.type, enabled=False):
            return batch_loss(
                self.config.training.loss,
                places,
                images,
                features,
                self.model.logit_scale,
                self.model.logit_bias,
                temperature=self.config.training.temperature,
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a step; raise DataError if it is NaN or infinite."""
        torch.manual_seed(
            derive_seed(self.config.seed, _STEP_STREAM, self.current_epoch, batch_idx, self.trainer.global_rank)
        )
        loss = self.batch_loss(batch)
        if not bool(loss.isfinite()):
            self._raise_data_error(loss, batch, batch_idx)
        self.log("train_loss", loss, batch_size=len(batch["lon"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss of held-out tiles."""
        loss = self.batch_loss(batch)
        if not bool(loss.isfinite()):
            self._raise_data_error(loss, batch, batch_idx)
        self.log("val_loss", loss, batch_size=len(batch["lon"]), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW over the trainable parameters; biases, norms and scalars have no weight decay."""
        plan = self.config.training
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [item for item in trainable if item.ndim < 2], "weight_decay": 0.0},
            {"params": [item for item in trainable if item.ndim >= 2], "weight_decay": plan.weight_decay},
        ]
        optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate)
        if plan.schedule == "constant" and not plan.warmup_steps:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, plan))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the configuration as plain values."""
        checkpoint[CONFIG_KEY] = dataclasses.asdict(self.config) | {"head_name": self.tower.head_name}

    def _gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors, (n, d), of all processes as one, (world * n, d); gradients flow back to each process."""
        gathered = self.all_gather(tensor, sync_grads=torch.is_grad_enabled())
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)

    def _raise_data_error(self, loss: Tensor, batch: Batch, batch_idx: int) -> None:
        """Raise DataError that names the step and the first tiles of the batch, or those with features not finite."""
        names: list[str] = self.trainer.datamodule.names  # type: ignore[attr-defined]
        not_finite = torch.zeros(len(batch["rows"]), dtype=torch.bool)
        if "features" in batch:
            not_finite = ~batch["features"].isfinite().all(dim=1).cpu()
        suspects = batch["rows"].cpu()[not_finite] if bool(not_finite.any()) else batch["rows"].cpu()
        tiles = ", ".join(names[int(row)] for row in suspects[:_MAX_NAMED_TILES])
        problem = "features are not finite for" if bool(not_finite.any()) else "tiles begin with"
        where = f"step {self.global_step + 1} (epoch {self.current_epoch}, batch {batch_idx})"
        raise DataError(
            f"The loss is {loss.item():g} at {where}, whose {problem} {tiles}. Lower training.learning_rate "
            f"(now {self.config.training.learning_rate:g}), set training.clip_norm, or inspect these tiles."
        )


def learning_rate_factor(step: int, steps: int, plan: OptimConfig) -> float:
    """Return the factor of the learning rate at a step: a linear warm-up, then constant or half a cosine to 0."""
    if step < plan.warmup_steps:
        return (step + 1) / plan.warmup_steps
    if plan.schedule == "constant":
        return 1.0
    done = min(1.0, (step - plan.warmup_steps) / max(1, steps - plan.warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * done))
