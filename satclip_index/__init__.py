"""Find the places on Earth that are like this one.

>>> import satclip_index as si
>>> atlas = si.build_atlas("atlas", res=[3, 4])    # doctest: +SKIP
>>> atlas.like("Nairobi").to_pandas()              # doctest: +SKIP
"""

import lazy_loader

__version__ = "0.1.0"

# Each name of __init__.pyi is imported on first use, so that `import satclip_index` loads no torch, pyarrow or duckdb.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
