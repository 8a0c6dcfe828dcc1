from .duckdb_file import write_standalone as write_standalone
from .lancedb_tables import table_name as table_name
from .lancedb_tables import write_lance as write_lance
from .torch_dataset import CellDataset as CellDataset
