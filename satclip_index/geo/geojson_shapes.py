"""Reading GeoJSON as shapes in the plane of lon and lat, cut at the antimeridian."""

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
        Points, or polygons with lon in [-180, 180]. A ring that crosses the antimeridian is cut there; a ring around a
        pole is closed over it. Ring orientation does not matter.

    Raises
    ------
    PlaceError
        If the document cannot be read, has geometries other than only points or only polygons, or has no area.

    Notes
    -----
    RFC 7946 requires geometries that cross the antimeridian to be cut there, but most software leaves them uncut, such
    as a ring from 170 to -170. So an edge that spans more than 180 degrees of longitude takes the short way, over the
    antimeridian. Since ring orientation does not matter, an uncut box from -170 to 170 is the same list of points, and
    is also read as the narrow box. For a wide box, add a vertex to its long edges, or use
    :class:`satclip_index.geo.areas.Box`. A box of a full turn, -180 to 180, is read as it is.
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
            f"{name} contains {', '.join(sorted(kinds)) or 'no geometry'}; expected only points, or only polygons."
        )
    points = shapely.get_coordinates(parts)
    if not (np.abs(points[:, 0]) <= 360).all() or not (np.abs(points[:, 1]) <= 90).all():
        raise PlaceError(f"{name} has coordinates out of range; GeoJSON is (lon, lat) in degrees. Are they swapped?")
    if kinds == {"Point"}:
        return shapely.MultiPoint(parts)
    area = shapely.union_all([_on_the_plane(part) for part in parts])
    if area.is_empty:
        raise PlaceError(f"The polygons in {name} have no area.")
    return area


def contains_points(shape: "BaseGeometry", lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each point, (n,) degrees, is inside a shape or on its edge."""
    import shapely

    shapely.prepare(shape)
    inside: NDArray[np.bool_] = shapely.intersects_xy(shape, lon, lat)
    return inside


def ring_coordinates(shape: "BaseGeometry") -> list[NDArray[np.float64]]:
    """Return the rings of polygons, (n, 2) degrees each; none for points."""
    import shapely

    return [shapely.get_coordinates(ring) for ring in shapely.get_rings(shapely.get_parts([shape]))]


def compare_boxes(
    shape: "BaseGeometry",
    west: NDArray[np.float64],
    south: NDArray[np.float64],
    east: NDArray[np.float64],
    north: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether each box, (n,) degrees, is entirely inside a shape, edges included, and entirely outside it."""
    import shapely

    shapely.prepare(shape)
    boxes = shapely.box(west, south, east, north)
    touched = shapely.intersects(shape, boxes)
    inside = np.zeros(boxes.shape, dtype=bool)
    inside[touched] = shapely.covers(shape, boxes[touched])
    return inside, ~touched


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
    """Return a polygon with unwrapped rings, cut at the antimeridian, with lon in [-180, 180]."""
    import shapely
    from shapely.affinity import translate

    outer = _unwrapped(polygon.exterior)
    for hole in polygon.interiors:
        ring = _unwrapped(hole)
        for shift in (-360, 0, 360):
            outer = outer.difference(translate(ring, shift))
    if outer.is_empty:
        return outer
    west, _, east, _ = outer.bounds
    turns = range(math.floor((west + 180) / 360), math.ceil((east - 180) / 360) + 1)
    shifted = [translate(outer, -360 * turn) for turn in turns]
    return shapely.union_all(shifted).intersection(shapely.box(-180, -90, 180, 90))


def _unwrapped(ring: Any) -> "BaseGeometry":
    """Return the area of a ring after unwrapping its longitudes to steps of at most 180 degrees.

    A ring that ends a full turn away from its start goes around a pole: the pole of its hemisphere.
    """
    import shapely

    points = shapely.get_coordinates(ring)
    steps = np.diff(points[:, 0])
    if not _spans_full_turn(steps, points[:, 0]):
        steps = np.where(np.abs(steps) > 180, (steps + 180) % 360 - 180, steps)
    lon = points[0, 0] + np.concatenate([[0.0], np.cumsum(steps)])
    lat = points[:, 1]
    if abs(lon[-1] - lon[0]) > 180:
        pole = math.copysign(90.0, lat.mean())
        lon = np.concatenate([lon, [lon[-1], lon[0]]])
        lat = np.concatenate([lat, [pole, pole]])
    return shapely.make_valid(shapely.Polygon(np.column_stack([lon, lat])))


def _spans_full_turn(steps: NDArray[np.float64], lon: NDArray[np.float64]) -> bool:
    """Return whether a ring intentionally spans 360 degrees of longitude, as the box [-180, 180] does.

    A ring around a pole does not: where it has vertices at both -180 and 180, a single step connects them, and the ring
    does not follow the antimeridian before and after it.
    """
    if lon.max() - lon.min() < 360:
        return False
    turns = np.flatnonzero(np.abs(steps) >= 360)
    return turns.size != 1 or (steps[turns[0] - 1] == 0 and steps[(turns[0] + 1) % steps.size] == 0)
