"""``satclip-index verify``."""

from typing import Annotated

import typer

from . import options
from .render import complain, progress_bar, show_document


def verify(
    atlas: options.Atlas = options.DEFAULT_ATLAS,
    quick: Annotated[bool, typer.Option("--quick", help="Check only the manifest and file sizes.")] = False,
    format: options.DocumentFormat = "table",
    quiet: options.Quiet = False,
) -> None:
    """Check that every file of an atlas is intact and that the files agree; exit with 1 if not.

    Example: satclip-index verify --atlas world

    Example, in seconds: satclip-index verify --atlas world --quick
    """
    from satclip_index import verify_atlas

    with progress_bar("Verifying", "bytes", quiet=quiet) as progress:
        verification = verify_atlas(atlas, quick=quick, progress=progress)
    if format == "json":
        findings = [{"file": file, "what": problem} for file, problem in verification.findings]
        show_document({"sound": verification.sound, "checks": verification.checks, "findings": findings}, format)
    elif not quiet and verification.checks:
        show_document(verification.checks, format)
    for file, problem in verification.findings:
        complain(f"{atlas}/{file}: {problem}.")
    if verification.findings:
        remedy = f"Build it again: satclip-index build --atlas {atlas} --force"
        if "://" in atlas:
            remedy = (
                "This is the local copy, in ~/.cache/satclip-index or SATCLIP_CACHE. Remove it to download it again."
            )
        complain(f"{atlas}/ is damaged. {remedy}")
        raise typer.Exit(1)
