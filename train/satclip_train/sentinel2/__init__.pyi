from .compute_features import compute_features as compute_features
from .config import S2Config as S2Config
from .config import read_s2_config as read_s2_config
from .export import export as export
from .train import train_on_tiles as train_on_tiles
