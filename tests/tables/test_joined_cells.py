"""A table of cells, joined: finer ones, coarser ones, and what descends from these."""

import h3
import numpy as np
import pyarrow as pa

from satclip_index.tables import joined_table

from ..oracles import stored


def test_finer_cells_count_by_their_ancestor_and_coarser_ones_are_counted(atlas):
    fine, coarse = h3.latlng_to_cell(10, 20, 7), h3.latlng_to_cell(10, 20, 0)
    stream = atlas.join(pa.table({"h3": [fine, coarse, "nonsense", None]}))
    found = stream.to_arrow()
    assert found["cell"].to_pylist() == [int(h3.cell_to_parent(fine, 2), 16), None, None, None]
    assert [vector is None for vector in found["embedding"].to_pylist()] == [False, True, True, True]
    assert stream.left_out == {"not a cell": 2, "coarser than res 2": 1}
    assert stream.remark() == (
        "3 of 4 rows could not be placed: 2 not a cell (expected whole numbers or hexadecimal text), "
        "1 coarser than res 2 (descendants, or a coarser res, would place them)."
    )


def test_a_row_of_a_coarser_cell_is_repeated_for_each_descendant(atlas, monkeypatch):
    monkeypatch.setattr(joined_table, "_BATCH_ROWS", 20)
    pentagon = "8009fffffffffff"
    given = [
        h3.latlng_to_cell(10, 20, 0),
        "x",
        h3.latlng_to_cell(1, 2, 5),
        pentagon,
        h3.latlng_to_cell(3, 4, 2),
        pentagon,
    ]
    expected = []
    for row, cell in enumerate(given):
        if cell == "x":
            expected.append((row, None))
        elif h3.get_resolution(cell) > 2:
            expected.append((row, int(h3.cell_to_parent(cell, 2), 16)))
        else:
            expected += [(row, child) for child in sorted(int(c, 16) for c in h3.cell_to_children(cell, 2))]
    table = pa.table({"row": range(len(given)), "hex": given})
    stream = atlas.join(table, descendants=True)
    found = stream.to_arrow()
    assert list(zip(found["row"].to_pylist(), found["cell"].to_pylist(), strict=True)) == expected
    held = stored(atlas, 2)
    rows = np.searchsorted(held["cell"], [cell for _, cell in expected if cell])
    np.testing.assert_array_equal(
        np.array([vector for vector in found["embedding"].to_pylist() if vector]), held["embedding"][rows]
    )


def test_descendants_are_taken_in_slices():
    base = np.array([0x8001FFFFFFFFFFF, 0, 0x8009FFFFFFFFFFF], np.uint64)
    slices = list(joined_table.descend(base, 5, most=500))
    assert max(cells.size for _, cells in slices) <= 2 * 500
    rows, cells = (np.concatenate(parts) for parts in zip(*slices, strict=True))
    expected = [sorted(int(c, 16) for c in h3.cell_to_children(h3.int_to_str(int(cell)), 5)) for cell in base[[0, 2]]]
    assert cells.tolist() == [*expected[0], 0, *expected[1]]
    assert np.bincount(rows).tolist() == [len(expected[0]), 1, len(expected[1])]
