"""Linear and shallow probes: what an embedding is worth for a column of a table."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
