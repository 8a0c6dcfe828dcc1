"""``satclip-index build``."""

import time
from typing import Annotated, Literal

import typer

from . import options
from .render import progress_bar, say


def build(
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    encoder: Annotated[
        str,
        typer.Option(
            help="Location encoder: bluemarble, a .safetensors or .ckpt file, or ORG/MODEL on the Hugging Face Hub."
        ),
    ] = "bluemarble",
    res: Annotated[
        list[int] | None,
        typer.Option(help="H3 resolution, 0 to 9. Repeat it for several: --res 3 --res 4.", show_default="3 and 4"),
    ] = None,
    device: options.Device = "auto",
    land_only: Annotated[bool, typer.Option("--land-only", help="Encode only cells whose center is on land.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing atlas once the new one is complete.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted build.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Number of shards built in parallel.", show_default="CPU cores, at most 8; all of a Ray cluster"
        ),
    ] = None,
    engine: Annotated[
        Literal["threads", "ray"],
        typer.Option(help="Run workers as threads, or as Ray processes here or on a cluster."),
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a Ray cluster, such as auto or ray://host:10001.",
            show_default="RAY_ADDRESS, or a local Ray",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Build an atlas: the embedding of every H3 cell on Earth.

    The atlas can be written to a folder or to a URL, by threads on this machine or on a Ray cluster; its bytes are the
    same.

    Example: satclip-index build --atlas world --res 3 --res 4

    Example, after an interruption: satclip-index build --atlas world --res 3 --res 4 --resume
    """
    from satclip_index.builder.build import build_atlas, estimated_bytes
    from satclip_index.geo.grid import cell_count, check_resolutions

    resolutions = check_resolutions(res or [3, 4])
    cells = " + ".join(f"{cell_count(r):,}" for r in resolutions)
    megabytes = estimated_bytes(resolutions, land_only=land_only) / 1e6
    say(
        f"Building {atlas}/: {'the land of ' if land_only else ''}{cells} cells, about {megabytes:,.0f} MB.",
        quiet=quiet,
    )
    start = time.perf_counter()
    try:
        with progress_bar("Encoding", "cells", quiet=quiet) as progress:
            built = build_atlas(
                atlas,
                encoder=encoder,
                res=resolutions,
                device=device,
                land_only=land_only,
                force=force,
                resume=resume,
                workers=workers,
                engine=engine,
                address=address,
                progress=progress,
            )
    except KeyboardInterrupt:
        say("Interrupted. Finished shards are kept; run the same command with --resume to continue.", quiet=quiet)
        raise
    size = sum(file.size for file in built.manifest.files) / 1e6
    say(
        f"Built {atlas}/ in {time.perf_counter() - start:.0f} s: {size:,.0f} MB. Try: {_example_query(atlas)}",
        quiet=quiet,
    )


def _example_query(atlas: str) -> str:
    return "satclip-index like Nairobi" + ("" if atlas == options.DEFAULT_ATLAS else f" --atlas {atlas}")
