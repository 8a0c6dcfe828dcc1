"""``satclip-index train``."""

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .render import progress_bar, say


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file such as train/configs/bluemarble.toml.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write the encoder.", show_default="as CONFIG says")
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a location encoder from images.

    Example: satclip-index train train/configs/bluemarble.toml -o mine.safetensors
    """
    from satclip_train.fit import train as fit

    with progress_bar("Training", "steps", quiet=quiet) as bar:
        written = fit(config, out=out, progress=bar and (lambda now: bar(now.step, now.steps)))
    say(f"Trained. Build with it: satclip-index build --encoder {written}", quiet=quiet)
