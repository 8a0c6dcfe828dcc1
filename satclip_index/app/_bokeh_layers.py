"""The map as Bokeh draws it: one layer over the other, each with its data."""

from typing import Any

from bokeh.core.property.vectorization import value
from bokeh.models import ColumnDataSource, LinearColorMapper, Range1d
from bokeh.plotting import figure

from ..maps.color_scale import as_hex, palette
from ._view_geometry import NOTHING, STEPS

_INK, _PAPER, _AREA = "#111111", "#ffffff", "#0b5cad"


class Layers:
    """What is drawn, from the bottom to the top.

    Attributes
    ----------
    picture : ColumnDataSource
        Similarity as numbers of colours, in ``image``; it is drawn three times, a turn of the Earth apart.
    lines, area, sketch : ColumnDataSource
        Coast and borders, the area to search in, and what is being drawn of one: ``lon`` and ``lat``, NaN for a gap.
    pins : ColumnDataSource
        Answers: ``lon``, ``lat``, ``number`` and ``size``.
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
    """Return the figure, which is called ``map``."""
    drawn: Any = figure(
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
    drawn.axis.visible = False
    drawn.grid.visible = False
    for west in ("west_before", "west", "west_after"):
        drawn.image("image", west, "south", "across", "up", source=layers.picture, color_mapper=_mapper())
    _draw_lines(drawn, layers)
    _draw_places(drawn, layers)
    return drawn


def _mapper() -> LinearColorMapper:
    """Return the colours of the numbers from 0 to ``STEPS`` - 1; above is nothing."""
    assert NOTHING > STEPS - 0.5
    colors = [as_hex(color) for color in palette()[:STEPS]]
    return LinearColorMapper(palette=colors, low=-0.5, high=STEPS - 0.5, high_color="rgba(0, 0, 0, 0)")


def _draw_lines(drawn: Any, layers: Layers) -> None:
    """Draw each line twice, light below dark: it is seen on any colour."""
    drawn.line("lon", "lat", source=layers.lines, line_color=_PAPER, line_width=2.0, line_alpha=0.55)
    drawn.line("lon", "lat", source=layers.lines, line_color="#333333", line_width=0.8, line_alpha=0.9)
    for source, dash in ((layers.area, "dashed"), (layers.sketch, "solid")):
        drawn.line("lon", "lat", source=source, line_color=_PAPER, line_width=4)
        drawn.line("lon", "lat", source=source, line_color=_AREA, line_width=2, line_dash=dash)
    drawn.scatter("lon", "lat", source=layers.sketch, size=7, fill_color=_PAPER, line_color=_AREA, line_width=2)


def _draw_places(drawn: Any, layers: Layers) -> None:
    """Draw pins, white and round, below examples, black and square: they differ in black and white, too."""
    text = {"text_align": "center", "text_baseline": "middle", "text_font": value("sans-serif")}
    text |= {"text_font_style": "bold"}
    drawn.scatter("lon", "lat", source=layers.pins, size="size", fill_color=_PAPER, line_color=_INK, line_width=1.5)
    small, large = value("12px"), value("17px")
    drawn.text("lon", "lat", source=layers.pins, text="number", text_color=_INK, text_font_size=small, **text)
    square = {"marker": "square", "size": 20, "fill_color": _INK, "line_color": _PAPER, "line_width": 1.5}
    drawn.scatter("lon", "lat", source=layers.examples, **square)
    drawn.text("lon", "lat", source=layers.examples, text="sign", text_color=_PAPER, text_font_size=large, **text)
