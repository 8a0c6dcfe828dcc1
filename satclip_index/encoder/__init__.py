"""Location encoders, which map (lon, lat) to an embedding: checkpoints, networks and fast encoding of many cells."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
