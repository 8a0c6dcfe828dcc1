"""Location encoders: a function from (lon, lat) to an embedding, its checkpoints, and fast encoding of many cells."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
