"""Maps as matplotlib figures, drawn without pyplot or other shared state, so that any thread may draw."""

import io
import re
from typing import Any, cast

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font
from matplotlib.patheffects import withStroke
from PIL import Image

from .coastlines import load_outlines
from .color_scale import INK, PAPER, SEA, SOFT, palette
from .map_contents import Picture, Pin, join_lines

DPI = 100
_EDGE, _HEAD, _FOOT, _FOOT_BARE = 16, 62, 152, 30  # margins beside, above and below the map, in pixels
_KEPT = [list(bytes.fromhex(color[1:])) for color in (INK, SOFT, SEA, PAPER)]  # colors that are never quantized
_SCALE, _NAMES, _COLUMN = (
    330,
    400,
    250,
)  # pixels: width of the scale, start of the names, and width of a column of names
_NAME_ROWS = 5
_NARROWEST = 400  # pixels: the minimum width for the scale and the text
_LETTER, _BOLD_LETTER = 0.83, 0.92  # average width of a letter in pixels, per point of its size
_FINEST = 0.3  # pixels: the tolerance for simplifying lines
_FONT = FontProperties(family="DejaVu Sans")  # included in matplotlib, so that figures are the same on every machine
# The random identifiers of matplotlib in an SVG file.
_ID = re.compile(r'(?<=[#"])[A-Za-z]+[0-9a-f]{10}(?=[)"])')


class Map(Figure):
    """A figure that notebooks display; ``has_scale`` says whether its colors are those of similarity."""

    has_scale = False

    def png(self) -> bytes:
        """Return the figure as a PNG file."""
        return png_of(self)

    def _repr_png_(self) -> bytes:
        return self.png()


def draw(picture: Picture) -> Map:
    """Return a picture as a figure; its first axes are the map, in degrees."""
    foot = _FOOT if picture.scale is not None or picture.names else _FOOT_BARE
    room = max(picture.width, _NARROWEST)
    width, height = room + 2 * _EDGE, picture.height + _HEAD + foot
    figure = Map(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    figure.has_scale = picture.scale is not None
    FigureCanvasAgg(figure)
    west, south, east, north = picture.bounds
    axes = figure.add_axes((_EDGE / width, foot / height, picture.width / width, picture.height / height))
    axes.set(xlim=(west, east), ylim=(south, north), xticks=[], yticks=[], facecolor=SEA, aspect="auto")
    image = picture.image()
    if image is not None:
        axes.imshow(image, extent=(west, east, south, north), aspect="auto", interpolation="nearest", zorder=1)
    _draw_lines(axes, picture)
    _draw_places(axes, picture)
    size = _size_for(picture.title, room, 10, 15, _BOLD_LETTER)
    title = _cut(picture.title, room, size, _BOLD_LETTER)
    _write(figure, _EDGE, 10, title, size=size, weight="bold", height=height)
    size = _size_for(picture.subtitle, room, 7.5, 10)
    _write(figure, _EDGE, 36, _cut(picture.subtitle, room, size), size=size, color=SOFT, height=height)
    top = _HEAD + picture.height
    if picture.scale is not None:
        _draw_scale(figure, picture, top + 10, width, height)
    _draw_names(figure, picture, top + 10, width, height)
    _write(figure, _EDGE, height - 20, picture.credit, size=7.5, color=SOFT, height=height)
    return figure


def png_of(figure: Map) -> bytes:
    """Return a figure as a PNG file."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    file = io.BytesIO()
    if not figure.has_scale:
        Image.fromarray(pixels).save(file, "png")
        return file.getvalue()
    # With 256 colors a file has a third of the size. Those of the scale count as if a tenth of the pixels had them.
    scale = np.resize(np.repeat(palette(), pixels.shape[1] // 256 + 1, axis=0), (len(pixels) // 10, *pixels.shape[1:]))
    few = 256 - len(_KEPT)
    found = Image.fromarray(np.vstack([pixels, scale])).quantize(
        few, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    numbers = np.asarray(found)[: len(pixels)].copy()
    for number, color in enumerate(_KEPT, few):
        numbers[(pixels == color).all(axis=-1)] = number
    image = Image.fromarray(numbers)
    colors = (found.getpalette() or [])[: 3 * few]
    image.putpalette([*colors, *[0] * (3 * few - len(colors)), *np.ravel(_KEPT).tolist()])
    image.save(file, "png", optimize=True)
    return file.getvalue()


def file_of(picture: Picture, suffix: str) -> bytes:
    """Return a picture as a ``.png`` or ``.svg`` file, with reproducible bytes."""
    return png_of(draw(picture)) if suffix == ".png" else svg_of(draw(picture))


def svg_of(figure: Figure) -> bytes:
    """Return a figure as an SVG file without fonts."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file, canvas = io.StringIO(), cast("Any", FigureCanvasSVG(figure))
    canvas.print_svg(file, metadata={"Date": None, "Creator": "satclip-index"})
    names: dict[str, str] = {}
    return _ID.sub(lambda found: names.setdefault(found[0], f"part{len(names)}"), file.getvalue()).encode()


def _draw_lines(axes: Any, picture: Picture) -> None:
    lines = load_outlines(picture.level)
    for border, width, alpha in ((True, 0.35, 0.6), (False, 0.55, 0.9)):
        _add_lines(axes, picture, lines.lines(border=border), color=INK, lw=width, alpha=alpha, zorder=2)
    areas = [*picture.areas, *(line for example in picture.examples for line in example.lines)]
    _add_lines(axes, picture, areas, color=INK, lw=0.9, ls="--", alpha=0.7, zorder=3)
    for color, width in ((PAPER, 2.6), (INK, 1.2)):
        _add_lines(axes, picture, picture.regions, color=color, lw=width, zorder=3)


def _add_lines(axes: Any, picture: Picture, lines: Any, **style: Any) -> None:
    """Draw lines, repeated every 360 degrees within the map."""
    points = join_lines(lines)
    for shift in picture.shifts() if len(points) else ():
        (line,) = axes.plot(points[:, 0] + shift, points[:, 1], scalex=False, scaley=False, **style)
        line.get_path().simplify_threshold = _FINEST


def _draw_places(axes: Any, picture: Picture) -> None:
    for example in picture.examples:
        shape = {"marker": "*", "markersize": 15} if example.wanted else {"marker": "X", "markersize": 10}
        axes.plot(picture.turned(example.lon), example.lat, ls="", mfc=PAPER, mec=INK, mew=1.3, zorder=5, **shape)
    axes.plot(picture.turned(picture.lon), picture.lat, ls="", marker="o", ms=4.5, mfc=PAPER, mec=INK, mew=1, zorder=4)
    for pin in picture.pins():
        _draw_pin(axes, pin)


def _draw_pin(axes: Any, pin: Pin) -> None:
    text = _drawable(pin.text)
    if pin.is_rank:
        style = {"boxstyle": "round,pad=0.22,rounding_size=0.7", "fc": PAPER, "ec": INK, "lw": 1.1}
        style = {"bbox": style, "fontsize": 8, "fontweight": "bold"}
    else:
        style = {"path_effects": [withStroke(linewidth=3, foreground=PAPER)], "fontsize": 10, "fontweight": "bold"}
    cased = [withStroke(linewidth=2.4, foreground=PAPER)]
    line = {"arrowstyle": "-", "color": INK, "lw": 0.9, "shrinkA": 0, "shrinkB": 2, "path_effects": cased}
    away = np.hypot(pin.right, pin.down) > 0
    axes.annotate(
        text,
        (pin.lon, pin.lat),
        # In points of 1/72 inch.
        (pin.right * 72 / DPI, -pin.down * 72 / DPI),
        textcoords="offset points",
        arrowprops=line if away and pin.is_rank else None,
        ha="center",
        va="center",
        color=INK,
        family=_FONT.get_family(),
        zorder=7 if pin.is_rank else 6,
        parse_math=False,
        **style,
    )


def _draw_scale(figure: Figure, picture: Picture, top: float, width: int, height: int) -> None:
    """Draw the color scale with its labels."""
    assert picture.scale is not None
    wide, tall = _SCALE, 14
    _write(figure, _EDGE, top, "How alike: the share of random pairs of places on land", size=9, height=height)
    _write(figure, _EDGE, top + 14, "that are at least so alike (and their similarity)", size=9, height=height)
    box = (_EDGE / width, 1 - (top + 34 + tall) / height, wide / width, tall / height)
    bar = figure.add_axes(box)
    bar.imshow(
        np.arange(256)[None], cmap=ListedColormap(palette() / 255), aspect="auto", extent=(0, 1, 0, 1), vmin=0, vmax=255
    )
    bar.set(xticks=[], yticks=[])
    for position, name, similarity in picture.scale.ticks():
        side = "left" if position == 0 else "right" if position == 1 else "center"
        x = _EDGE + position * wide
        _write(figure, x, top + 52, name, size=8.5, ha=side, height=height)
        _write(figure, x, top + 65, f"({similarity:.2f})", size=7.5, color=SOFT, ha=side, height=height)
        bar.axvline(position, color=INK, lw=0.8)


def _draw_names(figure: Figure, picture: Picture, top: float, width: int, height: int) -> None:
    """Write the names of the first places, in as many columns as there is room for."""
    columns = (width - _NAMES) // _COLUMN
    shown = columns * _NAME_ROWS
    if not columns or not picture.names:
        return
    _write(figure, _NAMES, top, "By the nearest city:", size=9, height=height)
    wide = (width - _NAMES) // columns
    for number, name in enumerate(picture.names[:shown]):
        x, y = _NAMES + wide * (number // _NAME_ROWS), top + 18 + 16 * (number % _NAME_ROWS)
        _write(figure, x, y, _cut(f"{number + 1}  {name}", wide - 8, 9), size=9, height=height)
    if len(picture.names) > shown:
        more = f"and {len(picture.names) - shown:,} more"
        _write(figure, _NAMES, top + 18 + 16 * _NAME_ROWS, more, size=9, color=SOFT, height=height)


def _write(figure: Figure, x: float, y: float, text: str, *, height: float, color: str = INK, **style: Any) -> None:
    """Write a line of text, with its upper left corner at x, y pixels from that of the figure."""
    figure.text(
        x / (figure.get_figwidth() * DPI),
        1 - y / height,
        _drawable(text),
        color=color,
        va="top",
        family=_FONT.get_family(),
        parse_math=False,
        **style,
    )


def _size_for(text: str, pixels: int, least: float, most: float, letter: float = _LETTER) -> float:
    """Return the font size in points, within limits, at which a line of text fits into a width."""
    return max(least, min(most, pixels / (letter * max(1, len(text)))))


def _cut(text: str, pixels: int, size: float, letter: float = _LETTER) -> str:
    """Return a line of text, shortened to fit into a width at a font size in points."""
    length = int(pixels / (letter * size))
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _drawable(text: str) -> str:
    """Return a line of text in which characters that the font lacks are replaced."""
    from matplotlib.font_manager import findfont

    known = get_font(findfont(_FONT)).get_charmap()
    return "".join(letter if ord(letter) in known else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split()))
