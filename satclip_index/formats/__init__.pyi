from .rows import FORMATS as FORMATS
from .rows import GEOMETRIES as GEOMETRIES
from .rows import write_rows as write_rows
from .streams import write_batches as write_batches
