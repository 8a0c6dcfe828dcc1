from .cell_encoder import CellEncoder as CellEncoder
from .cell_encoder import Plan as Plan
from .devices import best_device as best_device
from .location_encoder import Encoder as Encoder
from .location_encoder import unit_half as unit_half
