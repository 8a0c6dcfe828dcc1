"""``satclip-index verify``."""

from typing import Annotated

import typer

from . import options
from .render import complain, progress_bar, show_document


def verify(
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    quick: Annotated[bool, typer.Option("--quick", help="Only the manifest and the sizes of files.")] = False,
    format: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
    quiet: options.Quiet = False,
) -> None:
    """Say whether every file of an atlas is what was written, and whether they agree; exit 1 where not.

    Example: satclip-index verify --atlas world --quick
    """
    from satclip_index import verify_atlas

    if format not in ("table", "json"):
        raise typer.BadParameter(f"{format!r} is not one of table, json.", param_hint="--format")
    with progress_bar("Verifying", "bytes", quiet=quiet) as progress:
        found = verify_atlas(atlas, quick=quick, progress=progress)
    if format == "json":
        findings = [{"file": file, "what": what} for file, what in found.findings]
        show_document({"sound": found.sound, "checks": found.checks, "findings": findings}, format)
    elif not quiet and found.checks:
        show_document(found.checks, format)
    for file, what in found.findings:
        complain(f"{atlas}/{file}: {what}.")
    if found.findings:
        remedy = f"Build it again: satclip-index build --atlas {atlas} --force"
        if "://" in atlas:
            remedy = "That is its copy here, in ~/.cache/satclip-index or SATCLIP_CACHE: remove it, to fetch it again."
        complain(f"{atlas}/ is not sound. {remedy}")
        raise typer.Exit(1)
