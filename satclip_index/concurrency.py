"""How many processors this process may use, and work on several threads whose results come in order."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def processors() -> int:
    """Return how many processors this process may use, or how many there are where the system cannot say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(work: Callable[[In], Out], items: Iterable[In], *, workers: int | None = None) -> Iterator[Out]:
    """Yield the result of the work on each item, in the order of the items.

    Parameters
    ----------
    work : function
        Called in threads.
    items : iterable
        Read only so far ahead as keeps the threads busy.
    workers : int, optional
        How many threads; by default as many as there are processors.
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
