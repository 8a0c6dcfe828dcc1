"""Exact search over the vectors of an atlas: the tree, its engine, geographic filters and FAISS."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
