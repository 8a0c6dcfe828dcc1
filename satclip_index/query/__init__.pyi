from .like import like_cells as like_cells
from .like import like_regions as like_regions
from .like import like_rows as like_rows
from .neighbors import Neighbors as Neighbors
from .question import Question as Question
from .unusual import UnusualRules as UnusualRules
