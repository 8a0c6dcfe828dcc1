"""Progress callbacks."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with the amount of work done so far and the total."""


class ProgressCounter:
    """Adds up finished work and passes the sum to a callback.

    Parameters
    ----------
    progress : function of (done, total) or None
        Called after each addition.
    total : int
        All the work.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def add(self, count: int) -> None:
        """Add finished work."""
        self._done += count
        if self._progress:
            self._progress(self._done, self._total)
