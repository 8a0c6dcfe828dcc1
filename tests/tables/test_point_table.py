import csv
import json
import struct

import duckdb
import numpy as np
import pytest

from satclip_index.errors import TableError
from satclip_index.tables.point_table import read_points


@pytest.fixture
def folder(tmp_path):
    """A table of points, in CSV."""
    rng = np.random.default_rng(0)
    with (tmp_path / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Longitude", "LAT", "warm", "zone"])
        writer.writerows([*rng.uniform(-90, 90, 2), rng.normal(), rng.choice(["wet", "dry"])] for _ in range(50))
    return tmp_path


def test_every_format_gives_the_same_points(folder):
    expected = read_points(folder / "points.csv", ["warm", "zone"])
    source = str(folder / "points.csv")
    with duckdb.connect() as connection:
        for name, options in (
            ("p.parquet", "FORMAT parquet"),
            ("p.tsv", "DELIMITER '\t'"),
            ("p.json", "FORMAT json, ARRAY true"),
            ("p.jsonl", "FORMAT json"),
            ("p.csv.gz", "COMPRESSION gzip"),
        ):
            connection.execute(f"COPY (SELECT * FROM read_csv('{source}')) TO '{folder / name}' ({options})")
            found = read_points(folder / name, ["warm", "zone"])
            np.testing.assert_array_equal(found.lon, expected.lon)
            np.testing.assert_array_equal(found.lat, expected.lat)
            np.testing.assert_array_equal(found.columns["warm"], expected.columns["warm"])
            assert found.columns["zone"].tolist() == expected.columns["zone"].tolist()


def test_points_of_geoparquet_are_read(folder):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    points = [struct.pack("<BIdd", 1, 1, lon, lat) for lon, lat in ((10.0, 20.0), (350.0, -5.0))]
    line = struct.pack("<BIIdddd", 1, 2, 2, 0.0, 0.0, 1.0, 1.0)
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
    table = pa.table({"geometry": pa.array([*points, line, None], pa.binary()), "y": [1.0, 2.0, 3.0, 4.0]})
    for name, metadata in (("geo.parquet", {"geo": json.dumps(geo)}), ("plain.parquet", {})):
        pq.write_table(table.replace_schema_metadata(metadata), folder / name)
        found = read_points(folder / name, ["y"])
        assert (found.lon.tolist(), found.lat.tolist()) == ([10.0, -10.0], [20.0, -5.0])
        assert found.columns["y"].tolist() == [1.0, 2.0]
        assert found.dropped == {"without a point on Earth": 2}


def test_coordinates_can_be_named_and_a_number_may_be_missing_by_a_mark(tmp_path):
    (tmp_path / "t.csv").write_text("east,north,x,y,t\n10,20,1,2,5\n190,20,1,2,NA\n200,-5,1,2,7\n10,91,1,2,8\n")
    found = read_points(tmp_path / "t.csv", ["t"], lon="east", lat="north", numbers=["t"])
    assert (found.lon.tolist(), found.lat.tolist()) == ([10.0, -160.0], [20.0, -5.0])
    assert found.columns["t"].tolist() == [5.0, 7.0]
    assert found.dropped == {"without a point on Earth": 1, "without t": 1}
    assert read_points(tmp_path / "t.csv", []).lat.tolist() == [2.0] * 4  # the usual names
    with pytest.raises(TableError, match="no column 'west'; it has east, north, x, y, t"):
        read_points(tmp_path / "t.csv", [], lon="west")
