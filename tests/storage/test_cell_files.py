import json

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from satclip_index.encoder.location_encoder import unit_half
from satclip_index.errors import CorruptAtlasError
from satclip_index.geo import grid
from satclip_index.geo.land_mask import is_land
from satclip_index.storage.cell_files import read_shard, stream_columns, write_shard
from satclip_index.storage.geoparquet import write_table

from .. import oracles
from ..oracles import all_cells, stored


def shards(atlas, res):
    return sorted((atlas.path / f"res={res}" / "cells").glob("*.parquet"))


@pytest.mark.parametrize("res", [1, 2])
def test_another_reader_finds_every_cell_once_in_order(atlas, res):
    columns = stored(atlas, res)
    assert list(columns) == ["cell", "lon", "lat", "land", "norm", "embedding", "geometry"]
    np.testing.assert_array_equal(columns["cell"], all_cells(res))
    lon, lat = grid.cell_centers(all_cells(res))
    np.testing.assert_array_equal(columns["lon"], lon)
    np.testing.assert_array_equal(columns["lat"], lat)
    np.testing.assert_array_equal(columns["land"], is_land(lon, lat))


def test_the_column_types_are_those_promised(atlas):
    described = duckdb.sql(f"DESCRIBE FROM read_parquet('{shards(atlas, 2)[0]}', hive_partitioning = false)").fetchall()
    assert {name: kind for name, kind, *_ in described} == {
        "cell": "UBIGINT", "lon": "DOUBLE", "lat": "DOUBLE", "land": "BOOLEAN", "norm": "FLOAT",
        "embedding": "FLOAT[]", "geometry": described[-1][1],
    }  # fmt: skip
    assert described[-1][1].startswith(("BLOB", "GEOMETRY"))


@pytest.mark.parametrize("res", [1, 2])
def test_stored_embeddings_are_half_precision_units_of_what_the_encoder_gives(atlas, encoder, res):
    columns = stored(atlas, res)
    embedding = columns["embedding"]
    np.testing.assert_array_equal(embedding.astype(np.float16).astype(np.float32), embedding)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, atol=1e-3)
    raw = oracles.embed(encoder, columns["lon"], columns["lat"])
    length = np.linalg.norm(raw, axis=1)
    np.testing.assert_allclose(columns["norm"], length, rtol=1e-4)
    np.testing.assert_allclose(embedding, raw / length[:, None], atol=6e-4)
    again, norm = unit_half(encoder.encode(columns["lon"], columns["lat"]))
    np.testing.assert_allclose(again, embedding, atol=5e-4)
    np.testing.assert_allclose(norm, columns["norm"], rtol=1e-5)


@pytest.mark.parametrize("res", [1, 2])
def test_geometry_is_the_centre_as_wkb(atlas, res):
    for path in shards(atlas, res):
        table = pq.read_table(path)
        points = shapely.get_coordinates(shapely.from_wkb(table["geometry"].to_pylist()))
        np.testing.assert_array_equal(points, np.column_stack([table["lon"], table["lat"]]))


def test_the_footer_is_geoparquet_1_1_and_names_the_encoder(atlas, encoder):
    for path in shards(atlas, 2):
        metadata = pq.ParquetFile(path).schema_arrow.metadata
        geo = json.loads(metadata[b"geo"])
        assert geo["version"] == "1.1.0"
        column = geo["columns"][geo["primary_column"]]
        assert column["encoding"] == "WKB"
        assert column["geometry_types"] == ["Point"]
        assert column.get("crs", "absent") == "absent"  # which means OGC:CRS84
        points = shapely.from_wkb(pq.read_table(path)["geometry"].to_pylist())
        np.testing.assert_array_equal(column["bbox"], shapely.total_bounds(points))
        emb = json.loads(metadata[b"emb"])
        assert emb["model_sha256"] == encoder.sha256
        assert emb["dimensions"] == 16
        assert emb["h3_resolution"] == 2


def test_columns_are_compressed_and_split_by_byte(atlas):
    group = pq.ParquetFile(shards(atlas, 2)[0]).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert "BYTE_STREAM_SPLIT" in columns["embedding.list.element"].encodings


def write(path, n=10, dim=4, start=0):
    rng = np.random.default_rng(start)
    cells = grid.cells_at(3)[start : start + n]
    lon, lat = grid.cell_centers(cells)
    parts = {
        "cells": cells,
        "lon": lon,
        "lat": lat,
        "land": rng.random(n) < 0.5,
        "norm": rng.random(n).astype(np.float32),
        "embedding": rng.random((n, dim)).astype(np.float16).astype(np.float32),
    }
    write_shard(path, **parts, described={"model": "x"})
    return parts


def test_what_is_written_is_read_back_across_shards_of_any_size(tmp_path):
    sizes = (10, 1, 33, 40_000)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    paths = [tmp_path / f"{i}.parquet" for i in range(len(sizes))]
    parts = [write(path, n, 2, int(start)) for path, n, start in zip(paths, sizes, starts, strict=True)]
    found = stream_columns(paths, ["land", "cell", "norm", "lat"]).read_all()
    assert found.column_names == ["land", "cell", "norm", "lat"]
    for name, source in (("land", "land"), ("cell", "cells"), ("norm", "norm"), ("lat", "lat")):
        expected = np.concatenate([part[source] for part in parts])
        values = found[name].to_numpy()
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected)
    for path, part in zip(paths, parts, strict=True):
        columns, described = read_shard(path, 2)
        assert described == {"model": "x"}
        for name, source in (
            ("cell", "cells"),
            *((name, name) for name in ("lon", "lat", "land", "norm", "embedding")),
        ):
            assert columns[name].dtype == part[source].dtype
            np.testing.assert_array_equal(columns[name], part[source])
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "missing", "folder", "footer"])
def test_a_damaged_file_is_one_line_with_its_name(tmp_path, damage):
    path = tmp_path / "part.parquet"
    write(path)
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little")
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        broken = {
            "truncated": data[: len(data) // 2],
            "empty": b"",
            "text": b"hello" * 99,
            "footer": data[: -8 - footer] + bytes(32) + data[32 - 8 - footer :],
        }[damage]
        path.write_bytes(broken)
    with pytest.raises(CorruptAtlasError, match=r"part\.parquet") as caught:
        read_shard(path, 4)
    assert "\n" not in str(caught.value)


def test_a_missing_column_is_a_corrupt_atlas(tmp_path):
    import pyarrow as pa

    write_table(pa.table({"cell": np.arange(3, dtype=np.uint64)}), tmp_path / "x.parquet")
    with pytest.raises(CorruptAtlasError, match="has the columns cell uint64; expected cell uint64, lon double"):
        read_shard(tmp_path / "x.parquet", 4)


def test_a_table_and_a_stream_of_batches_are_written_alike(tmp_path):
    import pyarrow as pa

    table = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]}).replace_schema_metadata({"k": "v"})
    write_table(table, tmp_path / "table.parquet")
    with (tmp_path / "stream.parquet").open("wb") as file:
        write_table(table.to_reader(max_chunksize=1), file)
    for name in ("table", "stream"):
        assert duckdb.sql(f"FROM '{tmp_path / name}.parquet'").fetchall() == [(1, "x"), (2, None), (3, "z")]
        assert pq.read_schema(tmp_path / f"{name}.parquet").metadata[b"k"] == b"v"
