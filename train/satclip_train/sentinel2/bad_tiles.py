"""A record of tiles that cannot be used, with a limit on their share."""

import logging
from dataclasses import dataclass, field

from satclip_index.errors import DataError

logger = logging.getLogger(__name__)


class BadTileError(DataError):
    """One tile cannot be used."""


@dataclass(slots=True)
class BadTiles:
    """The tiles left out; a warning is logged once for each.

    Parameters
    ----------
    total : int
        Number of tiles in the table.
    max_share : float
        Above this share of bad tiles, :meth:`check` raises DataError.
    warn : bool
        Whether to log warnings.
    reasons : dict of str to str
        By file name, the kind of problem and its details, such as ``size: 64 x 64 pixels``.
    """

    total: int
    max_share: float = 0.05
    warn: bool = True
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Record a bad tile; log a warning the first time."""
        if name not in self.reasons:
            self.reasons[name] = reason
            if self.warn:
                logger.warning("Tile %s is left out: %s.", name, reason)

    def check(self) -> None:
        """Raise DataError if more than ``max_share`` of all tiles are bad."""
        if len(self.reasons) > self.max_share * self.total:
            name, reason = next(iter(self.reasons.items()))
            raise DataError(
                f"{len(self.reasons)} of {self.total} tiles are unusable, more than the {self.max_share:.0%} allowed; "
                f"first is {name}: {reason}. Repair the data, or raise data.max_bad_share."
            )

    def summary(self) -> str:
        """Return one line: how many tiles are used, and how many were left out by kind of problem."""
        kinds: dict[str, int] = {}
        for reason in self.reasons.values():
            kind = reason.split(":")[0]
            kinds[kind] = kinds.get(kind, 0) + 1
        left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return f"{self.total - len(self.reasons):,} of {self.total:,} tiles used" + (
            f"; left out: {left_out}" if kinds else ""
        )
