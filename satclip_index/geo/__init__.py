"""Geography: coordinates, H3 cells, distances, areas, places, a gazetteer and the land mask."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
