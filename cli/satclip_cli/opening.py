"""Opening an atlas for a command: one at a URL is fetched, with a bar."""

from typing import TYPE_CHECKING

from .render import progress_bar

if TYPE_CHECKING:
    from satclip_index import Atlas


def opened(atlas: str, *, quiet: bool = False) -> "Atlas":
    """Return an atlas whose files are on this machine."""
    from satclip_index import open_atlas

    if "://" not in atlas:
        return open_atlas(atlas)
    with progress_bar("Fetching", "bytes", quiet=quiet) as progress:
        found = open_atlas(atlas, progress=progress)
        _ = found.path  # asking for it fetches the files
    return found
