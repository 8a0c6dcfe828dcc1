"""Exports of an atlas: a DuckDB file, LanceDB tables and a PyTorch data set."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
