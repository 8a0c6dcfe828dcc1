"""Opening an atlas for a command; an atlas at a URL is downloaded first, with a progress bar."""

from typing import TYPE_CHECKING

from .render import progress_bar

if TYPE_CHECKING:
    from satclip_index import Atlas


def open_local(atlas: str, *, quiet: bool = False) -> "Atlas":
    """Return an atlas; one at a URL is downloaded into the local cache."""
    from satclip_index import open_atlas

    if "://" not in atlas:
        return open_atlas(atlas)
    with progress_bar("Fetching", "bytes", quiet=quiet) as progress:
        opened = open_atlas(atlas, progress=progress)
        _ = opened.path  # the first access downloads the files
    return opened
