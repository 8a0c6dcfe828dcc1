"""An atlas on disk or at a URL: its manifest, cell files, tensor files, and files that are written whole."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
