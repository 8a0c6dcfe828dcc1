"""Options of an evaluation that travel together."""

from dataclasses import dataclass

from satclip_index.checks import check_whole_number
from satclip_index.errors import TableError

from .folds import BLOCK_DEGREES


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """How features are evaluated.

    Parameters
    ----------
    folds : int
        Number of folds, at least 3, since the penalty for a fold is chosen among the others.
    seeds : int
        Number of repetitions, each with its own folds; at least 1.
    mlp : bool
        Whether to fit a small network besides the linear probe.
    block_degrees : float
        Edge of a block of the blocked folds, in degrees.

    Raises
    ------
    TableError
        If ``folds`` or ``seeds`` is out of range.
    """

    folds: int = 5
    seeds: int = 3
    mlp: bool = False
    block_degrees: float = BLOCK_DEGREES

    def __post_init__(self) -> None:
        check_whole_number("folds", self.folds, low=3, error=TableError)
        check_whole_number("seeds", self.seeds, error=TableError)
