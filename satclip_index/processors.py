"""How many processors this process may use."""

import os


def processors() -> int:
    """Return how many, where the system tells, and else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
