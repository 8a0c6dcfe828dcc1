from .rows import FORMATS as FORMATS
from .rows import GEOMETRIES as GEOMETRIES
from .rows import plain_rows as plain_rows
from .rows import write_rows as write_rows
from .streams import write_batches as write_batches
from .text import write_table_text as write_table_text
