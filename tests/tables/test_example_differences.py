import duckdb
import numpy as np
import pytest

from satclip_index.errors import TableError
from satclip_index.geo import sphere
from satclip_index.tables.candidates import Candidates
from satclip_index.tables.example_differences import find_differences

from ..oracles import haversine_km


def at(lon, lat):
    return sphere.PointSet(np.array([lon], dtype=float), np.array([lat], dtype=float))


@pytest.fixture
def path(tmp_path):
    """A table of more rows than a batch, with gaps, a constant, text, and rows that are nowhere."""
    rng = np.random.default_rng(0)
    n = 150_000
    rows = {
        "lon": rng.uniform(-180, 180, n),
        "lat": rng.uniform(-80, 80, n),
        "big": rng.normal(1e9, 1, n),
        "whole": rng.integers(-5, 5, n),
        "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
        "same": np.full(n, 0.1),
        "far": np.where(rng.random(n) < 0.1, np.inf, rng.exponential(size=n)),
    }
    rows["lat"][::7] = 95.0
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        columns = (
            "* REPLACE (nullif(gaps, 'nan') AS gaps), 'x' AS name, (whole * 0.5)::DECIMAL(9, 2) AS money, lon > 0 AS b"
        )
        connection.execute(f"COPY (SELECT {columns} FROM rows) TO '{tmp_path}/t.parquet' (ROW_GROUP_SIZE 10000)")
    return tmp_path / "t.parquet"


NUMBERS = ["big", "whole", "gaps", "same", "far", "money"]


@pytest.mark.parametrize("where", [None, "whole > 0"])
@pytest.mark.parametrize("places", [[(36.82, -1.29)], [(180.0, 60.0), (-60.0, -10.0), (0.0, 0.0)]])
def test_differences_are_those_of_the_whole_table_in_memory(path, where, places):
    table = duckdb.sql(f"SELECT row_number() OVER () - 1 AS row, * FROM '{path}'").fetchnumpy()
    columns = {
        name: np.ma.filled(np.ma.asarray(table[name]).astype(float), np.nan) for name in ("lon", "lat", *NUMBERS)
    }
    usable = columns["lat"] <= 90  # the condition leaves out candidates; the example may be one of those
    numbers = np.where(usable)[0]
    nearest = [
        numbers[haversine_km(columns["lon"][numbers], columns["lat"][numbers], *place).argmin()] for place in places
    ]
    opened = Candidates.open(path, where=where)
    rows = numbers[[5, 3, 1000, 70_000]]
    found = find_differences(opened, opened.fetch(rows), [at(*place) for place in places])
    assert found.row.tolist() == nearest
    for place, row, km in zip(places, nearest, found.distance_km, strict=True):
        np.testing.assert_allclose(km, haversine_km(*place, columns["lon"][row], columns["lat"][row]), rtol=1e-6)
    assert found.table.column_names == [f"{name}_sd" for name in NUMBERS]
    for name in NUMBERS:
        values = np.where(np.isfinite(columns[name]), columns[name], np.nan)
        example = np.nanmean(values[nearest]) if np.isfinite(values[nearest]).any() else np.nan
        deviation = np.nanstd(values[numbers]) if name != "same" else np.nan
        expected = (values[rows] - example) / deviation
        got = np.array(found.table[f"{name}_sd"].to_pylist(), dtype=float)
        np.testing.assert_allclose(got, expected, rtol=1e-5)
        assert found.table[f"{name}_sd"].null_count == np.isnan(expected).sum()


def test_of_rows_at_one_place_the_first_is_the_nearest(tmp_path):
    (tmp_path / "t.csv").write_text("lon,lat,n\n9,9,1\n10,10,2\n10,10,3\n")
    opened = Candidates.open(tmp_path / "t.csv")
    found = find_differences(opened, opened.fetch(np.array([2, 0])), [at(10, 10)])
    assert (found.row.tolist(), found.distance_km.tolist()) == ([1], [0.0])
    np.testing.assert_allclose(found.table["n_sd"].to_pylist(), np.array([1, -1]) / np.std([1, 2, 3]))


def test_a_table_of_cells_or_without_numbers_or_of_one_row(tmp_path):
    (tmp_path / "t.csv").write_text("cell,n\n811f3ffffffffff,5\n8009fffffffffff,7\n")
    opened = Candidates.open(tmp_path / "t.csv")
    found = find_differences(opened, opened.fetch(np.array([0, 1])), [at(0, 80)])
    assert found.table.to_pydict() == {"n_sd": [-2.0, 0.0]}
    assert found.row.tolist() == [1]
    (tmp_path / "one.csv").write_text("lon,lat,name,n\n1,2,a,3\n")
    opened = Candidates.open(tmp_path / "one.csv")
    assert find_differences(opened, opened.fetch(np.array([0])), [at(0, 0)]).table.to_pydict() == {"n_sd": [None]}
    (tmp_path / "one.csv").write_text("lon,lat,name,n\n1,92,a,3\n")
    opened = Candidates.open(tmp_path / "one.csv")
    with pytest.raises(TableError, match="nothing to compare with"):
        find_differences(opened, opened.fetch(np.array([0])), [at(0, 0)])
