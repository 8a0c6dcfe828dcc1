"""One training step, in as many processes as asked for: python s2_step.py DEVICES OUT CONFIG..."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from satclip_train.sentinel2.config import read_s2_config
from satclip_train.sentinel2.data_module import CachedData
from satclip_train.sentinel2.lightning_module import SatClipModule
from satclip_train.sentinel2.lightning_parts import Callback
from satclip_train.sentinel2.train import make_tower_for, make_trainer, quiet_lightning


class Keep(Callback):
    """Keeps the loss and the gradients, as the optimiser is given them."""

    def __init__(self, out):
        self.out = out

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        torch.save(
            {
                "loss": trainer.callback_metrics["train_loss"],
                "world": trainer.world_size,
                "gradients": {name: p.grad for name, p in pl_module.named_parameters() if p.requires_grad},
            },
            f"{self.out}.{trainer.global_rank}",
        )


def take_steps(devices, out, *paths):
    for path in paths:
        config = read_s2_config(path)
        config = replace(config, machine=replace(config.machine, devices=int(devices)))
        trainer = make_trainer(config, Path(out) / "run")
        trainer.callbacks.append(Keep(Path(out) / config.training.loss))
        data = CachedData(config)
        with quiet_lightning():
            trainer.fit(SatClipModule(config, make_tower_for(config, data)), datamodule=data)


if __name__ == "__main__":
    take_steps(*sys.argv[1:])
