"""Verifying an atlas: checksums of all files, and consistency of their contents."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CorruptAtlasError, EncoderError
from ..progress import Progress, ProgressCounter
from ..search.principal_components import Components
from ..storage.local_copy import local_folder
from ..storage.manifest import ENCODER_NAME, MANIFEST_NAME, FileEntry, Manifest, is_unmodified
from ..storage.remote import parse_location

Finding = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification.

    Attributes
    ----------
    checks : dict of str
        What was checked, and how much of it.
    findings : tuple of (str, str)
        The path of each bad file inside the atlas, and what is wrong with it.
    """

    checks: dict[str, str]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify_atlas(path: str | Path = "atlas", *, quick: bool = False, progress: Progress | None = None) -> Verification:
    """Check that the files of an atlas are intact and consistent.

    First the manifest, and the size and SHA-256 of each file. If these are correct, the contents: schema, counts,
    order and uniqueness of cells, unit lengths, index and tree against Parquet, and every bound of the tree. Finally a
    random sample of each resolution is encoded again.

    Parameters
    ----------
    path : str or Path
        Folder of the atlas, or a URL; then the local copy is checked, and downloaded first if needed.
    quick : bool
        Check only the manifest and file sizes.
    progress : function of (done, total), optional
        Called with the number of bytes read and the total.

    Raises
    ------
    AtlasNotFoundError
        If there is no atlas.
    """
    root = local_folder(parse_location(path), progress)
    try:
        manifest = Manifest.read(root, check_files=False)
    except CorruptAtlasError as error:
        return Verification({}, ((MANIFEST_NAME, str(error)),))
    if not is_unmodified((root / MANIFEST_NAME).read_bytes()):
        return Verification({}, ((MANIFEST_NAME, "was changed after it was written"),))
    count, size = len(manifest.files), sum(file.size for file in manifest.files)
    checks = {"manifest": "intact" if manifest.sha256 else "without checksum: written by an earlier version"}
    checks["sizes"] = f"{count} files"
    findings = [*manifest.wrong_sizes(root), *_unlisted_files(root, manifest)]
    if quick:
        return Verification(checks, tuple(findings))
    bytes_read = ProgressCounter(progress, size + sum(file.size for file in manifest.files if "/cells/" in file.path))
    wrong = {file for file, _ in findings}
    for file in manifest.files:
        if file.path not in wrong and FileEntry.of(root, root / file.path) != file:
            findings.append((file.path, "is damaged: its SHA-256 does not match the manifest"))
        bytes_read.add(file.size)
    checks["SHA-256"] = f"{count} files, {size / 1e6:,.0f} MB"
    if not findings:
        findings += _check_contents(root, manifest, checks, bytes_read)
    return Verification(checks, tuple(findings))


def _unlisted_files(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Yield files in the folders of resolutions that the manifest does not list; other programs would read them."""
    named = {file.path for file in manifest.files}
    for path in sorted(root.glob("res=*/**/*")):
        if path.is_file() and path.relative_to(root).as_posix() not in named:
            yield path.relative_to(root).as_posix(), "is not in the manifest"


def _check_contents(
    root: Path, manifest: Manifest, checks: dict[str, str], bytes_read: ProgressCounter
) -> Iterator[Finding]:
    """Yield inconsistencies between files whose checksums are correct."""
    from ..encoder.location_encoder import Encoder
    from ._consistency import find_inconsistencies

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
        yield from _check_components(root, manifest)
        for res, entry in manifest.resolutions.items():
            yield from find_inconsistencies(root, manifest, res, encoder, lambda name: bytes_read.add(sizes[name]))
            checks[f"res {res}"] = (
                f"{entry.count:,} cells, sorted and unique; index; tree and its bounds; a sample encoded again"
            )
    except CorruptAtlasError as error:
        yield MANIFEST_NAME, str(error)


def _check_components(root: Path, manifest: Manifest) -> Iterator[Finding]:
    stored = Components.open(root, manifest.dim)
    products = stored.components @ stored.components.T
    shares = manifest.components["variance_shares"]
    if not np.allclose(products, np.eye(manifest.dim), atol=1e-4) or not np.allclose(
        stored.shares(), shares, atol=1e-6
    ):
        yield "components.safetensors", "does not have orthonormal components with the variance shares of the manifest"
