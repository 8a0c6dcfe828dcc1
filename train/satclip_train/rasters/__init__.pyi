from .agreement import analogue_agreement as analogue_agreement
from .config import Config as Config
from .config import read_config as read_config
from .train import train as train
