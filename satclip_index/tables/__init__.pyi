from .join import embed_table as embed_table
from .join import join_cells as join_cells
from .joined_table import Joined as Joined
from .source import Source as Source
