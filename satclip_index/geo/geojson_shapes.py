"""GeoJSON read as shapes on a plane that ends at the antimeridian."""

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlaceError, one_line

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


def read_shape(source: Path | dict[str, Any]) -> "BaseGeometry":
    """Return the union of the points, or of the polygons, in a GeoJSON document.

    Parameters
    ----------
    source : Path or dict
        A file, or the parsed document: a geometry, Feature or FeatureCollection (RFC 7946).

    Returns
    -------
    shapely geometry
        Points, or polygons with lon in [-180, 180]. A ring that steps across the antimeridian is cut there; one that
        goes round a pole is closed over it. Ring orientation does not matter.

    Raises
    ------
    PlaceError
        If it cannot be read, holds anything but points alone or polygons alone, or no area.

    Notes
    -----
    RFC 7946 asks that a geometry which crosses the antimeridian be cut there, but most software leaves it uncut: a
    ring from 170 to -170. So an edge that spans more than 180 degrees of longitude goes the short way, over the
    antimeridian. As ring orientation must not matter, an uncut box from -170 to 170 is the very same list of points,
    and is taken for the narrow one, too. To draw a wide one, give its long edges a vertex on the way, or use
    :class:`satclip_index.geo.areas.Box`. A box over a whole turn, -180 to 180, is meant as drawn.
    """
    import shapely
    from shapely.errors import ShapelyError

    name = str(source) if isinstance(source, Path) else "The GeoJSON"
    if isinstance(source, Path) and not os.path.isfile(source):  # noqa: PTH113 (Path's raises on long names)
        raise PlaceError(f"No GeoJSON file at {source}.")
    try:
        document = json.loads(source.read_text(encoding="utf-8-sig")) if isinstance(source, Path) else source
        geometries = [shapely.geometry.shape(part) for part in _geometries(document)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ShapelyError) as error:
        raise PlaceError(f"{name} is not readable GeoJSON ({one_line(error)}).") from None
    parts = [part for geometry in geometries for part in getattr(geometry, "geoms", [geometry]) if not part.is_empty]
    kinds = {part.geom_type for part in parts}
    if kinds not in ({"Point"}, {"Polygon"}):
        raise PlaceError(
            f"{name} holds {', '.join(sorted(kinds)) or 'nothing'}; expected points alone, or polygons alone."
        )
    points = shapely.get_coordinates(parts)
    if not (np.abs(points[:, 0]) <= 360).all() or not (np.abs(points[:, 1]) <= 90).all():
        raise PlaceError(f"{name} has coordinates out of range; GeoJSON is (lon, lat) in degrees. Are they swapped?")
    if kinds == {"Point"}:
        return shapely.MultiPoint(parts)
    area = shapely.union_all([_on_the_plane(part) for part in parts])
    if area.is_empty:
        raise PlaceError(f"{name} holds polygons of no area.")
    return area


def holds_points(shape: "BaseGeometry", lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each point, (n,) degrees, lies in a shape or on its edge."""
    import shapely

    shapely.prepare(shape)
    held: NDArray[np.bool_] = shapely.intersects_xy(shape, lon, lat)
    return held


def lines_of(shape: "BaseGeometry") -> list[NDArray[np.float64]]:
    """Return the rings of polygons, (n, 2) degrees each; nothing for points."""
    import shapely

    return [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts([shape]))]


def boxes_against(
    shape: "BaseGeometry",
    west: NDArray[np.float64],
    south: NDArray[np.float64],
    east: NDArray[np.float64],
    north: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each box of degrees, all (n,), lies wholly in a shape, edges included, and wholly outside it."""
    import shapely

    shapely.prepare(shape)
    boxes = shapely.box(west, south, east, north)
    met = shapely.intersects(shape, boxes)
    inside = np.zeros(boxes.shape, dtype=bool)
    inside[met] = shapely.covers(shape, boxes[met])
    return inside, ~met


def _geometries(document: dict[str, Any]) -> list[dict[str, Any]]:
    match document["type"]:
        case "FeatureCollection":
            return [part for feature in document["features"] for part in _geometries(feature)]
        case "Feature":
            return _geometries(document["geometry"]) if document["geometry"] else []
        case "GeometryCollection":
            return [part for geometry in document["geometries"] for part in _geometries(geometry)]
        case _:
            return [document]


def _on_the_plane(polygon: Any) -> "BaseGeometry":
    """Return a polygon with its rings unwound, cut at the antimeridian and shifted back."""
    import shapely
    from shapely.affinity import translate

    outer = _unwound(polygon.exterior)
    for hole in polygon.interiors:
        ring = _unwound(hole)
        for shift in (-360, 0, 360):
            outer = outer.difference(translate(ring, shift))
    if outer.is_empty:
        return outer
    west, _, east, _ = outer.bounds
    turns = range(math.floor((west + 180) / 360), math.ceil((east - 180) / 360) + 1)
    shifted = [translate(outer, -360 * turn) for turn in turns]
    return shapely.union_all(shifted).intersection(shapely.box(-180, -90, 180, 90))


def _unwound(ring: Any) -> "BaseGeometry":
    """Return the area of a ring whose longitudes are made to step by at most half a turn.

    A ring that ends a whole turn from where it began goes round a pole: the one on whose side of the equator it lies.
    """
    import shapely

    points = shapely.get_coordinates(ring)
    steps = np.diff(points[:, 0])
    if not _is_meant_as_drawn(steps, points[:, 0]):
        steps = np.where(np.abs(steps) > 180, (steps + 180) % 360 - 180, steps)
    lon = points[0, 0] + np.concatenate([[0.0], np.cumsum(steps)])
    lat = points[:, 1]
    if abs(lon[-1] - lon[0]) > 180:
        pole = math.copysign(90.0, lat.mean())
        lon = np.concatenate([lon, [lon[-1], lon[0]]])
        lat = np.concatenate([lat, [pole, pole]])
    return shapely.make_valid(shapely.Polygon(np.column_stack([lon, lat])))


def _is_meant_as_drawn(steps: NDArray[np.float64], lon: NDArray[np.float64]) -> bool:
    """Return whether a ring spans a whole turn of longitudes on purpose, as the box [-180, 180] does.

    A ring round a pole does not: where it has a vertex at both -180 and 180, one step leads from one to the other, and
    the ring does not run along the antimeridian before and after it.
    """
    if lon.max() - lon.min() < 360:
        return False
    turns = np.flatnonzero(np.abs(steps) >= 360)
    return turns.size != 1 or (steps[turns[0] - 1] == 0 and steps[(turns[0] + 1) % steps.size] == 0)
