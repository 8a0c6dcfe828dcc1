from .color_scale import Scale as Scale
from .components_map import components_picture as components_picture
from .heatmap import WORLD as WORLD
from .heatmap import Heat as Heat
from .heatmap import HeatMaps as HeatMaps
from .heatmap import MapView as MapView
from .heatmap import heat_map as heat_map
from .map_contents import Picture as Picture
