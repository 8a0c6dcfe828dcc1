"""The files of an atlas, on disk or at a URL: manifest, Parquet and tensor files, atomic writes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
