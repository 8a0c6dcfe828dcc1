"""Verifying an atlas: whether every byte is what was written, and whether what was written agrees."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CorruptAtlasError, EncoderError
from ..progress import Progress, ProgressCounter
from ..search.principal_components import Components
from ..storage.local_copy import folder_of
from ..storage.manifest import ENCODER_NAME, MANIFEST_NAME, FileEntry, Manifest, is_as_written
from ..storage.remote import located

Finding = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes
    ----------
    checks : dict of str
        What was compared, and how much of it.
    findings : tuple of (str, str)
        Each file that is not as it should be, below the atlas, and what is wrong with it.
    """

    checks: dict[str, str]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify_atlas(path: str | Path = "atlas", *, quick: bool = False, progress: Progress | None = None) -> Verification:
    """Return what is wrong with an atlas.

    Every file has the size and SHA-256 of the manifest, and the manifest is as it was written. Where that is so, the
    rows are compared: schema, counts, order and uniqueness of cells, unit lengths, index and tree against Parquet,
    every bound of the tree; and a random sample of each resolution is encoded again.

    Parameters
    ----------
    path : str or Path
        Its folder, or a URL: then of the copy on this machine, which is fetched first.
    quick : bool
        Look at the manifest and the sizes of files only.
    progress : function of (done, total), optional
        Called with bytes read so far and in all.

    Raises
    ------
    AtlasNotFoundError
        If there is no atlas there.
    """
    root = folder_of(located(path), progress)
    try:
        manifest = Manifest.read(root, check_files=False)
    except CorruptAtlasError as error:
        return Verification({}, ((MANIFEST_NAME, str(error)),))
    if not is_as_written((root / MANIFEST_NAME).read_bytes()):
        return Verification({}, ((MANIFEST_NAME, "has been changed since it was written"),))
    count, size = len(manifest.files), sum(file.size for file in manifest.files)
    checks = {"manifest": "as it was written" if manifest.sha256 else "not signed: an earlier version wrote it"}
    checks["sizes"] = f"{count} files"
    findings = [*manifest.wrong_sizes(root), *_strays(root, manifest)]
    if quick:
        return Verification(checks, tuple(findings))
    bytes_read = ProgressCounter(progress, size + sum(file.size for file in manifest.files if "/cells/" in file.path))
    wrong = {file for file, _ in findings}
    for file in manifest.files:
        if file.path not in wrong and FileEntry.of(root, root / file.path) != file:
            findings.append((file.path, "is not what was written: its SHA-256 is another"))
        bytes_read.add(file.size)
    checks["SHA-256"] = f"{count} files, {size / 1e6:,.0f} MB"
    if not findings:
        findings += _contents(root, manifest, checks, bytes_read)
    return Verification(checks, tuple(findings))


def _strays(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Yield files among those of a resolution that the manifest does not name: another program would read them."""
    named = {file.path for file in manifest.files}
    for path in sorted(root.glob("res=*/**/*")):
        if path.is_file() and path.relative_to(root).as_posix() not in named:
            yield path.relative_to(root).as_posix(), "is not in the manifest"


def _contents(root: Path, manifest: Manifest, checks: dict[str, str], bytes_read: ProgressCounter) -> Iterator[Finding]:
    """Yield where files that are as they were written do not agree."""
    from ..encoder.location_encoder import Encoder
    from ._consistency import disagreements

    sizes = {file.path: file.size for file in manifest.files}
    try:
        encoder = Encoder.load(root / ENCODER_NAME)
    except EncoderError as error:
        yield ENCODER_NAME, str(error)
        return
    if (encoder.sha256, encoder.dim) != (manifest.encoder["sha256"], manifest.dim):
        yield ENCODER_NAME, "is not the encoder that the manifest names"
        return
    try:
        yield from _components(root, manifest)
        for res, entry in manifest.resolutions.items():
            yield from disagreements(root, manifest, res, encoder, lambda name: bytes_read.add(sizes[name]))
            checks[f"res {res}"] = (
                f"{entry.count:,} cells, in order and once; index, tree and its bounds; a sample encoded again"
            )
    except CorruptAtlasError as error:
        yield MANIFEST_NAME, str(error)


def _components(root: Path, manifest: Manifest) -> Iterator[Finding]:
    found = Components.open(root, manifest.dim)
    across = found.components @ found.components.T
    told = manifest.components["variance_shares"]
    if not np.allclose(across, np.eye(manifest.dim), atol=1e-4) or not np.allclose(found.shares(), told, atol=1e-6):
        yield "components.safetensors", "does not hold directions at right angles with the variance of the manifest"
