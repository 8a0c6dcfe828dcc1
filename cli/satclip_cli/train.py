"""``satclip-index train``: training from a configuration, features of the frozen tower, and export."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import options
from .render import progress_bar, say

_RUN = "run"


class _RunByDefault(TyperGroup):
    """Runs the command ``run`` unless another one is named, so that ``train CONFIG`` works."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = [_RUN, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == _RUN else name), command, rest


app = typer.Typer(
    cls=_RunByDefault,
    add_completion=False,
    help="Train a location encoder from images.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="A TOML file such as train/configs/satclip-resnet18-l40.toml.")
]
_VisionWeights = Annotated[
    Path | None,
    typer.Option("--vision-weights", metavar="FILE", help="Weights of the vision tower, instead of tower.weights."),
]


@app.command(_RUN, hidden=True)
def run(
    config: _Config,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The encoder: .safetensors or .ckpt.", show_default="runs/NAME.safetensors"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint of this run.")] = False,
    vision_weights: _VisionWeights = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a location encoder on satellite tiles, on their cached features, or on global rasters.

    Example: satclip-index train train/configs/bluemarble.toml -o mine.safetensors

    Example, resuming a run on tiles: satclip-index train s2.toml -o s2.ckpt --resume

    Example, computing the features of the frozen tower once: satclip-index train features s2.toml

    Example, exporting to the released layout: satclip-index train export s2.run/best.ckpt -o s2.ckpt
    """
    from satclip_train.sentinel2.config import is_tiles_config

    quiet = quiet or _is_helper_process()
    with progress_bar("Training", "steps", quiet=quiet) as progress:
        if is_tiles_config(config):
            from satclip_train.sentinel2.train import train_on_tiles

            path = train_on_tiles(config, out=out, resume=resume, vision_weights=vision_weights, progress=progress)
        else:
            path = _train_on_rasters(config, out, resume or vision_weights is not None, progress)
    if summary := _summary(path):
        say(f"{summary}.", quiet=quiet)
    say(f"Trained. Build with it: satclip-index build --encoder {path}", quiet=quiet)


@app.command()
def features(
    config: _Config,
    device: options.Device = "auto",
    vision_weights: _VisionWeights = None,
    quiet: options.Quiet = False,
) -> None:
    """Compute and cache the features of the frozen vision tower for training; resumes after an interruption.

    Example: satclip-index train features s2.toml
    """
    from satclip_train.sentinel2.compute_features import compute_features
    from satclip_train.sentinel2.config import read_s2_config

    settings = read_s2_config(config, vision_weights=vision_weights)
    with progress_bar("Computing features", "tiles", quiet=quiet) as progress:
        cache = compute_features(settings, device=device, progress=progress)
    say(
        f"{cache.left_out}: {cache.views} views each, {cache.dim_features} features. "
        f"Train on them: satclip-index train {config}",
        quiet=quiet,
    )


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="A .ckpt of a run, or any encoder.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="OUT.ckpt, in the released layout, or OUT.safetensors."),
    ],
    vision_weights: _VisionWeights = None,
    quiet: options.Quiet = False,
) -> None:
    """Write an encoder as .ckpt in the layout of the released checkpoints, or as .safetensors.

    Example: satclip-index train export s2.run/best.ckpt -o s2.ckpt --vision-weights resnet18.pth
    """
    from satclip_train.sentinel2.export import export as write

    encoder = write(checkpoint, out, vision_weights=vision_weights)
    say(f"Wrote {out}: {encoder.dim} dimensions, L = {encoder.hyperparameters.legendre_polys}.", quiet=quiet)


def _train_on_rasters(
    config: Path, out: Path | None, has_tile_options: bool, progress: Callable[[int, int], None] | None
) -> Path:
    """Train on global rasters, as for the bundled encoder."""
    from satclip_index.errors import ConfigError
    from satclip_train.rasters.train import train

    if has_tile_options:
        raise ConfigError(f"{config} trains on global rasters; --resume and --vision-weights are only for tiles.")
    if progress is None:
        return train(config, out=out)
    return train(config, out=out, progress=lambda state: progress(state.step, state.steps))


def _summary(path: Path) -> str:
    """Return how many tiles were used, or an empty string after training on rasters."""
    tiles = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")).get("tiles", "")
    return str(tiles)


def _is_helper_process() -> bool:
    """Return whether this is not the first process of a distributed run, which prints the messages."""
    return int(os.environ.get("LOCAL_RANK", "0")) > 0
