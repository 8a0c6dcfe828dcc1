"""Interactive maps, drawn with Bokeh: a single HTML file that works offline."""

from typing import Any

import numpy as np
from bokeh.embed import file_html
from bokeh.models import (
    BasicTicker,
    BooleanFilter,
    CDSView,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    Plot,
    Range1d,
)
from bokeh.models.annotations.legends import ColorBar
from bokeh.plotting import figure
from bokeh.resources import INLINE
from numpy.typing import NDArray

from .coastlines import load_outlines
from .color_scale import INK, PAPER, SEA, as_hex, palette
from .map_contents import Picture, Pin, join_lines

_TEMPLATE = """
{% block inner_head %}{{ super() }}
<style>
body { font: 14px/1.4 sans-serif; color: #1a1a1a; margin: 16px; }
h1 { font-size: 22px; margin: 0 0 4px; }
p { margin: 0 0 10px; color: #5a5a5a; }
table { border-collapse: collapse; margin: 12px 0; }
td, th { padding: 2px 10px; border-bottom: 1px solid #ddd; text-align: left; }
</style>
{% endblock %}
{% block contents %}
<h1>{{ picture.title | e }}</h1>
<p>{{ picture.subtitle | e }}</p>
{{ super() }}
{{ table | safe }}
<p>{{ picture.credit | e }}</p>
{% endblock %}
"""


def page_of(picture: Picture, table: str) -> bytes:
    """Return a picture as an HTML page, with an HTML table below the map."""
    variables = {"picture": picture, "table": table}
    html: str = file_html(draw(picture), INLINE, title=picture.title, template=_TEMPLATE, template_variables=variables)
    return html.encode()


def draw(picture: Picture) -> Plot:
    """Return a picture as a Bokeh figure, in degrees."""
    west, south, east, north = picture.bounds
    plot = figure(
        frame_width=picture.width,
        frame_height=picture.height,
        x_range=Range1d(start=west, end=east),
        y_range=Range1d(start=south, end=north),
        tools="pan,wheel_zoom,box_zoom,reset,save",
        active_scroll="wheel_zoom",
        background_fill_color=SEA,
        x_axis_label="lon",
        y_axis_label="lat",
    )
    plot.toolbar.logo = None
    plot.grid.visible = False
    for axis in plot.axis:
        axis.ticker = BasicTicker(mantissas=[1, 2, 3, 6])
    _draw_image(plot, picture)
    _draw_lines(plot, picture)
    _draw_places(plot, picture)
    return plot


def _draw_image(plot: Any, picture: Picture) -> None:
    west, south, east, north = picture.bounds
    box = {"x": west, "y": south, "dw": east - west, "dh": north - south}
    if picture.scale is None or picture.similarity is None:
        colors = picture.image()
        if colors is not None:  # south up, with each pixel packed into one integer
            packed = np.ascontiguousarray(colors[::-1]).view(np.uint32)[..., 0]
            plot.image_rgba(image=[packed], **box)
        return
    shades = [as_hex(color) for color in palette()]
    step = np.where(np.isnan(picture.similarity), 0, np.maximum(picture.scale.steps(picture.similarity), 1))
    mapper = LinearColorMapper(palette=shades[1:], low=0.5, high=255.5, low_color="rgba(0, 0, 0, 0)")
    plot.image(image=[step[::-1].astype(np.uint8)], color_mapper=mapper, **box)
    ticks = picture.scale.ticks()
    bar = ColorBar(
        color_mapper=LinearColorMapper(palette=shades, low=0, high=1),
        ticker=FixedTicker(ticks=[position for position, _, _ in ticks]),
        major_label_overrides={position: f"{name} ({similarity:.2f})" for position, name, similarity in ticks},
        title="How alike: the share of random pairs of places on land that are at least so alike (their similarity)",
        title_text_font_style="normal",
        width=620,
        height=14,
        location=(0, 0),
    )
    plot.add_layout(bar, "below")


def _draw_lines(plot: Any, picture: Picture) -> None:
    lines = load_outlines("fine")
    for border, width in ((True, 0.5), (False, 0.8)):
        _add_lines(plot, picture, join_lines(lines.lines(border=border)), line_width=width, line_color=INK)
    areas = [*picture.areas, *(line for example in picture.examples for line in example.lines)]
    _add_lines(plot, picture, join_lines(areas), line_width=1.2, line_color=INK, line_dash="dashed")
    for color, width in ((PAPER, 3.2), (INK, 1.5)):
        _add_lines(plot, picture, join_lines(picture.regions), line_width=width, line_color=color)


def _add_lines(plot: Any, picture: Picture, points: NDArray[np.float64], **style: Any) -> None:
    for shift in picture.shifts() if len(points) else ():
        plot.line((points[:, 0] + shift).astype(np.float32), points[:, 1].astype(np.float32), **style)


def _draw_places(plot: Any, picture: Picture) -> None:
    style = {"fill_color": PAPER, "line_color": INK}
    rank = np.arange(1, picture.lon.size + 1)
    answers = {"lon": picture.turned(picture.lon), "lat": picture.lat, "rank": rank}
    source = ColumnDataSource(answers | {"name": list(picture.names), "detail": list(picture.details)})
    dots = plot.scatter("lon", "lat", source=source, size=7, line_width=1.2, **style)
    plot.add_tools(HoverTool(renderers=[dots], tooltips=[("@rank", "@name"), ("", "@detail")]))
    for example in picture.examples:
        lon = picture.turned(example.lon)
        if example.wanted:
            plot.scatter(lon, example.lat, marker="star", size=20, line_width=1.4, **style)
        for color, width in () if example.wanted else ((INK, 7), (PAPER, 3)):
            plot.scatter(lon, example.lat, marker="x", size=13, line_width=width, line_color=color)
    pins = picture.pins()
    _draw_pins(plot, [pin for pin in pins if pin.is_rank], is_rank=True)
    _draw_pins(plot, [pin for pin in pins if not pin.is_rank], is_rank=False)


def _draw_pins(plot: Any, pins: list[Pin], *, is_rank: bool) -> None:
    right, down = (np.array([getattr(pin, name) for pin in pins]) for name in ("right", "down"))
    columns = {
        "lon": [pin.lon for pin in pins],
        "lat": [pin.lat for pin in pins],
        "text": [pin.text for pin in pins],
        "right": right,
        "down": down,
        "length": np.hypot(right, down),
        "angle": np.arctan2(-down, right),
    }
    source = ColumnDataSource(columns)
    if is_rank:
        view = CDSView(
            filter=BooleanFilter((columns["length"] > 0).tolist())
        )  # Bokeh draws a ray of length 0 without an end
        away = {"length": "length", "length_units": "screen", "angle": "angle", "source": source, "view": view}
        plot.ray("lon", "lat", line_color=PAPER, line_width=3, **away)
        plot.ray("lon", "lat", line_color=INK, line_width=1.2, **away)
    style = {"background_fill_color": PAPER, "padding": 2, "border_radius": 7}
    plot.text(
        "lon",
        "lat",
        "text",
        x_offset="right",
        y_offset="down",
        text_align="center",
        text_baseline="middle",
        text_font_size="12px" if is_rank else "14px",
        text_font_style="bold",
        text_color=INK,
        source=source,
        **style | ({"border_line_color": INK} if is_rank else {"background_fill_alpha": 0.75}),
    )
