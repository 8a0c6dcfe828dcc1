from .atlas import Atlas as Atlas
from .atlas import open_atlas as open_atlas
from .builder.build import build_atlas as build_atlas
from .builder.verify import verify_atlas as verify_atlas
from .encoder.location_encoder import Encoder as Encoder
from .errors import SatclipIndexError as SatclipIndexError
from .geo.places import Place as Place
from .query.neighbors import Neighbors as Neighbors
from .sql.connection import connect as connect
from .tables.join import embed_table as embed_table

__version__: str
