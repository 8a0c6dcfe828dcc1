"""A user's table: reading it, locating its rows, ranking them, and joining columns to it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
