import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from satclip_index.app import _user_table
from satclip_index.app._user_table import Table, Upload
from satclip_index.errors import QueryError, TableError
from satclip_index.storage.geoparquet import with_geometry, wkb_points

CSV = b"name,lon,lat,population\nNairobi,36.8,-1.3,4000000\nLima,-77,-12,9000000\nCairo,31.2,30,20000000\n"


def load(name, *parts):
    upload = Upload(name)
    for part in parts:
        upload.write(part)
    return Table(upload)


@pytest.fixture
def table():
    table = load("cities.csv", CSV[:30], CSV[30:])
    yield table
    table.close()


def rows(path):
    return pq.read_table(path).to_pylist()


def test_a_table_in_parts_is_read_whole_and_its_file_removed(table):
    assert table.columns == {"name": "VARCHAR", "lon": "DOUBLE", "lat": "DOUBLE", "population": "BIGINT"}
    assert [row["name"] for row in rows(table.rows_where(""))] == ["Nairobi", "Lima", "Cairo"]


def test_a_condition_leaves_the_rows_of_which_it_holds(table):
    path = table.rows_where("population > 5e6 -- of people")
    assert [row["name"] for row in rows(path)] == ["Lima", "Cairo"]
    assert table.rows_where("population > 5e6 -- of people") == path


def test_only_the_last_few_conditions_take_room(table):
    for least in range(9):
        path = table.rows_where(f"population > {least}")
        assert len(rows(path)) == 3
    assert len(list(path.parent.glob("*.parquet"))) == 4
    assert len(rows(table.rows_where("population > 0"))) == 3


@pytest.mark.parametrize(
    "condition",
    [
        "population > (SELECT count(*) FROM read_csv('/etc/passwd'))",
        "name IN (SELECT content FROM read_text('/etc/hostname'))",
        "EXISTS (SELECT * FROM 'http://127.0.0.1:1/x.parquet')",
        "EXISTS (SELECT * FROM pg_catalog.nothing)",
        "1 = 1); DROP TABLE rows; SELECT (1 = 1",
        "1 = 1; SET enable_external_access = true",
        "name = getenv('HOME')",
        "EXISTS (SELECT * FROM table)",
        "population >",
        "nothing = 1",
    ],
)
def test_a_condition_reaches_nothing_but_the_table(table, condition):
    with pytest.raises(QueryError):
        table.rows_where(condition)
    assert len(rows(table.rows_where(""))) == 3


def test_a_condition_that_would_never_end_is_interrupted(monkeypatch):
    monkeypatch.setattr(_user_table, "_SECONDS", 1)
    table = load("cities.csv", CSV)
    with pytest.raises(QueryError, match="execution time"):
        table.rows_where("(SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b) > population")
    table.close()


def test_a_file_that_is_too_large_is_refused_and_removed(monkeypatch):
    monkeypatch.setattr(_user_table, "MOST_BYTES", 1_000_000)
    upload = Upload("big.csv")
    folder = upload.path.parent
    upload.write(b"x" * 600_000)
    with pytest.raises(TableError, match=r"big.csv is larger than 1 MB.*satclip-index like --table"):
        upload.write(b"x" * 600_000)
    assert not folder.exists()


def test_a_file_that_unpacks_to_far_more_is_refused(monkeypatch):
    monkeypatch.setattr(_user_table, "MOST_READ_BYTES", 1_000_000)
    sink = pa.BufferOutputStream()
    n = 100_000
    pq.write_table(pa.table({"lon": np.zeros(n), "lat": np.zeros(n), "text": ["x" * 100] * n}), sink)
    assert sink.getvalue().size < 100_000
    with pytest.raises(TableError, match=r"^packed.parquet has more than 1 MB"):
        load("packed.parquet", sink.getvalue().to_pybytes())


def test_a_table_of_too_many_rows_is_refused(monkeypatch):
    monkeypatch.setattr(_user_table, "MOST_ROWS", 2)
    with pytest.raises(TableError, match=r"cities.csv has 3 rows; at most 2"):
        load("cities.csv", CSV)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.exe", b"", "is not a supported table"),
        ("x.csv.gz", b"", "is not a supported table"),
        ("x.parquet", b"not Parquet", "^x.parquet could not be read"),
        ("x.csv", b"a,b\n1,2\n", "^x.csv has no columns lon and lat, cell, or geometry; it has a, b"),
        ("x.json", b"{", "^x.json"),
        ("x.geojson", b"[" * 10_000, "x.geojson"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_its_own_name(name, content, said):
    with pytest.raises(TableError, match=said):
        load(name, content)


def test_geojson_and_geoparquet_keep_their_points(atlas):
    lon, lat = np.array([36.8, -77.0]), np.array([-1.3, -12.0])
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [x, y]}, "properties": {"n": 1}}
        for x, y in zip(lon, lat, strict=True)
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features}).encode()
    sink = pa.BufferOutputStream()
    pq.write_table(with_geometry(pa.table({"n": [1, 2]}), wkb_points(lon, lat), ["Point"], None), sink)
    for name, content in (("x.geojson", text), ("x.parquet", sink.getvalue().to_pybytes())):
        table = load(name, content)
        found = atlas.like("Cairo", table=table.rows_where("n >= 1"), exclude_within_km=0, apart_km=0)
        assert sorted(found.lon) == sorted(lon)
        table.close()


def test_what_was_loaded_is_removed_when_it_is_closed(table):
    path = table.rows_where("")
    table.close()
    assert not path.parent.exists()
