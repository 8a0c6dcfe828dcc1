"""The number of usable CPU cores, and parallel work on threads with results in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def processors() -> int:
    """Return the number of CPU cores that this process may use; all cores if the system does not report that."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[In], Out], items: Iterable[In], *, workers: int | None = None) -> Iterator[Out]:
    """Call a function for each item on several threads, and yield the results in the order of the items.

    Parameters
    ----------
    work : function
        Called with each item.
    items : iterable
        Read only as far ahead as needed to keep the threads busy.
    workers : int, optional
        Number of threads; by default one per CPU core.
    """
    workers = workers or processors()
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
