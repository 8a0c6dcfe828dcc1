"""The map as a Bokeh figure, with a data source per layer."""

from typing import Any

from bokeh.core.property.vectorization import value
from bokeh.models import ColumnDataSource, LinearColorMapper, Range1d
from bokeh.plotting import figure

from ..maps.color_scale import as_hex, palette
from ._view_geometry import NOTHING, STEPS

_INK, _PAPER, _AREA = "#111111", "#ffffff", "#0b5cad"


class Layers:
    """Data sources of the layers, from bottom to top.

    Attributes
    ----------
    picture : ColumnDataSource
        Color numbers of similarity, in ``image``; drawn three times, 360 degrees apart.
    lines, area, sketch : ColumnDataSource
        Coastlines and borders, the search area, and an area being drawn: ``lon`` and ``lat``, with NaN between lines.
    pins : ColumnDataSource
        Results: ``lon``, ``lat``, ``number`` and ``size``.
    examples : ColumnDataSource
        ``lon``, ``lat`` and ``sign``.
    """

    def __init__(self) -> None:
        corners = ("west", "west_before", "west_after", "south", "across", "up")
        self.picture = ColumnDataSource({name: [] for name in ("image", *corners)})
        self.lines, self.area = (ColumnDataSource({"lon": [], "lat": []}) for _ in range(2))
        self.sketch = ColumnDataSource({"lon": [], "lat": []}, name="sketch")
        self.pins = ColumnDataSource({"lon": [], "lat": [], "number": [], "size": []})
        self.examples = ColumnDataSource({"lon": [], "lat": [], "sign": []})


def map_figure(layers: Layers) -> Any:
    """Return the figure of the map, named ``map``."""
    plot: Any = figure(
        name="map",
        x_range=Range1d(start=-180, end=180),
        y_range=Range1d(start=-90, end=90),
        tools="pan,wheel_zoom",
        active_scroll="wheel_zoom",
        toolbar_location=None,
        sizing_mode="stretch_both",
        min_border=0,
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
    )
    plot.axis.visible = False
    plot.grid.visible = False
    for west in ("west_before", "west", "west_after"):
        plot.image("image", west, "south", "across", "up", source=layers.picture, color_mapper=_mapper())
    _draw_lines(plot, layers)
    _draw_places(plot, layers)
    return plot


def _mapper() -> LinearColorMapper:
    """Return the mapper from color numbers, 0 to ``STEPS`` - 1, to colors; higher numbers are transparent."""
    assert NOTHING > STEPS - 0.5
    colors = [as_hex(color) for color in palette()[:STEPS]]
    return LinearColorMapper(palette=colors, low=-0.5, high=STEPS - 0.5, high_color="rgba(0, 0, 0, 0)")


def _draw_lines(plot: Any, layers: Layers) -> None:
    """Draw each line twice, light below dark, so that it is visible on any color."""
    plot.line("lon", "lat", source=layers.lines, line_color=_PAPER, line_width=2.0, line_alpha=0.55)
    plot.line("lon", "lat", source=layers.lines, line_color="#333333", line_width=0.8, line_alpha=0.9)
    for source, dash in ((layers.area, "dashed"), (layers.sketch, "solid")):
        plot.line("lon", "lat", source=source, line_color=_PAPER, line_width=4)
        plot.line("lon", "lat", source=source, line_color=_AREA, line_width=2, line_dash=dash)
    plot.scatter("lon", "lat", source=layers.sketch, size=7, fill_color=_PAPER, line_color=_AREA, line_width=2)


def _draw_places(plot: Any, layers: Layers) -> None:
    """Draw results as white circles below examples as black squares, which also differ in black and white."""
    text = {"text_align": "center", "text_baseline": "middle", "text_font": value("sans-serif")}
    text |= {"text_font_style": "bold"}
    plot.scatter("lon", "lat", source=layers.pins, size="size", fill_color=_PAPER, line_color=_INK, line_width=1.5)
    small, large = value("12px"), value("17px")
    plot.text("lon", "lat", source=layers.pins, text="number", text_color=_INK, text_font_size=small, **text)
    square = {"marker": "square", "size": 20, "fill_color": _INK, "line_color": _PAPER, "line_width": 1.5}
    plot.scatter("lon", "lat", source=layers.examples, **square)
    plot.text("lon", "lat", source=layers.examples, text="sign", text_color=_PAPER, text_font_size=large, **text)
