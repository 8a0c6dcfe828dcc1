"""Geography: coordinates, the H3 grid, the sphere, areas, places and their names, the land mask."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
