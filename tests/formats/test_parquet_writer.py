import io

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satclip_index.formats._parquet_thrift import (
    BINARY,
    BYTE,
    DOUBLE,
    I16,
    I32,
    I64,
    LIST,
    STRUCT,
    TRUE,
    read_struct,
    struct_bytes,
)
from satclip_index.formats._parquet_writer import write_parquet


def written(batches, halves, schema=None):
    """Return batches as a file; what is to be kept as half precision is given so."""
    file, given = io.BytesIO(), []
    for batch in batches:
        half = {name: batch.column(name).cast(pa.list_(pa.float16())) for name in halves}
        given.append(pa.record_batch({name: half.get(name, batch.column(name)) for name in batch.schema.names}))
    write_parquet(schema or batches[0].schema, lambda then: map(then, given), file, halves)
    return file.getvalue()


def batch_of(rows, dim, missing, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, dim)).astype(np.float16).astype(np.float32)
    kept = np.ones(rows, bool) if missing is None else rng.random(rows) >= missing
    listed = [list(row) if keep else None for row, keep in zip(values, kept, strict=True)]
    lists = pa.array(listed, pa.list_(pa.field("element", pa.float32())))
    texts = pa.array([None if i % 5 == 0 else f"text {i % 7}" for i in range(rows)], pa.string())
    return pa.record_batch({"id": np.arange(rows), "vector": lists, "name": texts, "x": rng.random(rows)})


@pytest.mark.parametrize("dim", [1, 3, 8, 130])
@pytest.mark.parametrize("missing", [None, 0.3, 1.0])
def test_every_reader_finds_the_values_that_were_written(tmp_path, dim, missing):
    batches = [batch_of(rows, dim, missing, rows) for rows in (5000, 1, 0, 4096, 17)]
    expected = pa.Table.from_batches(batches)
    path = tmp_path / "t.parquet"
    path.write_bytes(written(batches, {"vector": dim}))
    assert pq.read_table(path).equals(expected)
    assert pq.ParquetFile(path).metadata.num_row_groups == 4
    found = duckdb.sql(f"FROM '{path}'").to_arrow_table()
    assert [found[name].to_pylist() for name in found.column_names] == [
        expected[name].to_pylist() for name in expected.column_names
    ]
    picked = pq.ParquetFile(path).read_row_group(2, ["vector"])
    assert picked["vector"].to_pylist() == batches[3].column("vector").to_pylist()


def test_metadata_stay_and_a_stream_of_nothing_is_a_file(tmp_path):
    schema = batch_of(1, 4, None).schema.with_metadata({"geo": "{}"})
    found = pq.read_table(io.BytesIO(written([], {"vector": 4}, schema)))
    assert found.num_rows == 0
    assert found.schema.equals(schema, check_metadata=True)


def test_every_half_precision_value_is_itself(tmp_path):
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = halves[np.isfinite(halves)].astype(np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values), 16).cast(pa.list_(pa.float32()))
    found = pq.read_table(io.BytesIO(written([pa.record_batch({"v": lists})], {"v": 16})))
    read = found["v"].combine_chunks().flatten().to_numpy()
    np.testing.assert_array_equal(read.view(np.uint32), values.view(np.uint32))


def test_other_columns_have_sizes_as_a_writer_of_parquet_gives_them():
    data = written([batch_of(3000, 8, None)], {"vector": 8})
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    sizes = [group.column(i).total_compressed_size for i in range(group.num_columns)]
    assert sum(sizes) == pytest.approx(len(data), abs=3000)
    assert group.total_byte_size == sum(group.column(i).total_uncompressed_size for i in range(group.num_columns))


whole = st.integers(-(2**63), 2**63 - 1)
leaves = st.one_of(
    whole.map(lambda value: (I64, value)),
    st.integers(-(2**31), 2**31 - 1).map(lambda value: (I32, value)),
    st.integers(-(2**15), 2**15 - 1).map(lambda value: (I16, value)),
    st.binary(max_size=20).map(lambda value: (BINARY, value)),
    st.binary(min_size=8, max_size=8).map(lambda value: (DOUBLE, value)),
    st.binary(min_size=1, max_size=1).map(lambda value: (BYTE, value)),
    st.lists(whole, max_size=40).map(lambda value: (LIST, (I64, value))),
    st.just((TRUE, None)),
)
structs = st.recursive(
    st.dictionaries(st.integers(1, 32_000), leaves, max_size=6),
    lambda inner: st.dictionaries(st.integers(1, 40), inner.map(lambda value: (STRUCT, value)), max_size=4),
    max_leaves=10,
)


@given(structs)
def test_a_struct_is_read_as_it_was_written(made):
    assert read_struct(struct_bytes(made)) == made
