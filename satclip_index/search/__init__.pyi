from .engine import Engine as Engine
from .engine import Filter as Filter
from .index import Index as Index
from .like_points import like_points as like_points
from .nearest_neighbors import Nearest as Nearest
from .nearest_neighbors import nearest_cells as nearest_cells
from .principal_components import Components as Components
from .tree import Tree as Tree
