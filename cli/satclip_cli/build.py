"""``satclip-index build``."""

import time
from typing import Annotated, Literal

import typer

from . import options
from .render import progress_bar, say


def build(
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    encoder: Annotated[
        str, typer.Option(help="bluemarble, a .safetensors or .ckpt file, or a Hub repository ORG/MODEL.")
    ] = "bluemarble",
    res: Annotated[
        list[int] | None, typer.Option(help="H3 resolution; give it several times.", show_default="3 and 4")
    ] = None,
    device: options.Device = "auto",
    land_only: Annotated[bool, typer.Option("--land-only", help="Leave out cells whose centre is not land.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the atlas that is there, once this is done.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a build that was interrupted.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Shards made side by side.", show_default="processors, at most 8; a cluster's")
    ] = None,
    engine: Annotated[
        Literal["threads", "ray"], typer.Option(help="What makes shards: threads, or processes of Ray.")
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster.", show_default="RAY_ADDRESS, or a Ray of its own on this machine"),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Embed every cell of the Earth into an atlas.

    It may be made at a URL, by threads of this machine or on a Ray cluster: the bytes are the same.

    Example: satclip-index build --atlas world --res 3 --res 4
    """
    from satclip_index.builder.build import build_atlas, estimated_bytes
    from satclip_index.geo.grid import cell_count, check_res

    resolutions = sorted({check_res(r) for r in res or [3, 4]})
    cells = " + ".join(f"{cell_count(r):,}" for r in resolutions)
    megabytes = estimated_bytes(resolutions, land_only=land_only) / 1e6
    say(
        f"Building {atlas}/: {'the land of ' if land_only else ''}{cells} cells, about {megabytes:,.0f} MB.",
        quiet=quiet,
    )
    start = time.perf_counter()
    try:
        with progress_bar("Encoding", "cells", quiet=quiet) as progress:
            made = build_atlas(
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
        say("Interrupted. What is done is kept: go on by the same command with --resume.", quiet=quiet)
        raise
    size = sum(file.size for file in made.manifest.files) / 1e6
    say(f"Built {atlas}/ in {time.perf_counter() - start:.0f} s: {size:,.0f} MB. Ask it: {_ask(atlas)}", quiet=quiet)


def _ask(atlas: str) -> str:
    return "satclip-index like Nairobi" + ("" if atlas == options.DEFAULT_ATLAS else f" --atlas {atlas}")
