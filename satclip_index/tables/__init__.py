"""A user's table: its source, where its rows are, ranking its rows, and joining columns to it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
