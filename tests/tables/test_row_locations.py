import struct

import numpy as np
import pytest

from satclip_index.errors import TableError
from satclip_index.tables.row_locations import LocationColumns, TableColumns, find_location_columns, points_of_wkb


def find(columns, **named):
    types = dict(item.rpartition(" ")[::2] for item in columns.split(", "))
    return find_location_columns("t.csv", types, TableColumns(**named))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ("lon DOUBLE, lat DOUBLE", LocationColumns(lon="lon", lat="lat")),
        ("Latitude VARCHAR, LONGITUDE DOUBLE, cell UBIGINT", LocationColumns(lon="LONGITUDE", lat="Latitude")),
        ("x DOUBLE, y DOUBLE, geometry GEOMETRY", LocationColumns(lon="x", lat="y")),
        ("lat DOUBLE, cell UBIGINT", LocationColumns(cell="cell")),
        ("n BIGINT, H3 VARCHAR", LocationColumns(cell="H3")),
        ("h3_index BIGINT, geometry GEOMETRY", LocationColumns(cell="h3_index")),
        ("cell DOUBLE, geometry GEOMETRY", LocationColumns(geometry="geometry")),
        ("n BIGINT, geom BLOB", LocationColumns(geometry="geom")),
    ],
)
def test_positions_are_found_by_the_usual_names(columns, expected):
    assert find(columns) == expected


def test_a_named_column_comes_before_the_usual_ones():
    columns = "lon DOUBLE, lat DOUBLE, east DOUBLE, north DOUBLE, cell UBIGINT, place VARCHAR"
    assert find(columns, lon="east", lat="north") == LocationColumns(lon="east", lat="north")
    assert find(columns, cell="place") == LocationColumns(cell="place")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"lon": "lon"}, "--lon names a column, and --lat does not"),
        ({"lat": "lat"}, "--lat names a column, and --lon does not"),
        ({"lon": "lon", "lat": "north"}, "t.csv has no column 'north'; it has lon, lat, cell, n"),
        ({"cell": "hex"}, "no column 'hex'"),
        ({"cell": "n"}, "Column 'n' of t.csv is DOUBLE; expected cells as whole numbers or hexadecimal text"),
        ({"cell": "cell", "lon": "lon", "lat": "lat"}, "the one or the other"),
    ],
)
def test_a_column_that_cannot_be_used_is_said(named, words):
    with pytest.raises(TableError, match=words):
        find("lon DOUBLE, lat DOUBLE, cell UBIGINT, n DOUBLE", **named)


def test_a_table_without_a_position_says_what_to_name():
    with pytest.raises(TableError, match="name them with --lon and --lat, or --cell: lat, n"):
        find("lat DOUBLE, n BIGINT")
    with pytest.raises(TableError, match="name them with --lon and --lat: cell"):
        find_location_columns("t.csv", {"cell": "UBIGINT"}, allow_cells=False)


def test_only_points_have_coordinates():
    values = [
        struct.pack("<BIdd", 1, 1, 10.5, -20.0),
        b"",
        struct.pack(">BIdd", 0, 1, 10.5, -20.0),
        struct.pack("<BIIdd", 1, 4, 0, 1.0, 1.0),
        struct.pack("<BIdd", 1, 2, 1.0, 1.0),
        struct.pack("<BIdd", 1, 1, 179.0, 90.0),
    ]
    lon, lat = points_of_wkb(np.frombuffer(b"".join(values), np.uint8), np.cumsum([0, *map(len, values)]))
    np.testing.assert_array_equal(lon, [10.5, np.nan, np.nan, np.nan, np.nan, 179.0])
    np.testing.assert_array_equal(lat, [-20.0, np.nan, np.nan, np.nan, np.nan, 90.0])
    assert points_of_wkb(np.empty(0, np.uint8), np.array([0]))[0].size == 0
