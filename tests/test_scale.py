"""The arithmetic of docs/scale.md: what the page shows is what its own block prints."""

import io
import re
from contextlib import redirect_stdout

from satclip_index.builder.build import estimated_bytes

from .conftest import ROOT
from .oracles import all_cells

PAGE = (ROOT / "docs" / "scale.md").read_text()


def printed():
    block = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    with redirect_stdout(io.StringIO()) as shown:
        exec(compile(block, "block", "exec"), {"__name__": "__main__"})
    return shown.getvalue().splitlines()


def test_the_table_is_what_the_block_prints():
    rows = printed()
    assert len(rows) == 5
    for row in rows:
        assert row in PAGE.splitlines(), row


def test_what_it_says_of_disks_is_what_a_build_reckons_with():
    for row in printed():
        res, cells, disk = (float(value.replace(",", "")) for value in row.strip("| ").split(" | ")[:3])
        assert cells == 2 + 120 * 7**res
        assert abs(disk * 1e9 / estimated_bytes([int(res)]) - 1) < 0.03
    assert all_cells(2).size == 2 + 120 * 7**2
