import json
import xml.etree.ElementTree as ET

import pytest

BOX = {"type": "Polygon", "coordinates": [[[-80, -30], [-40, -30], [-40, 5], [-80, 5], [-80, -30]]]}


def test_a_map_is_drawn_and_the_table_is_still_printed(cli, atlas, tmp_path):
    plain = cli("like", "Nairobi", "-k", "4", "--format", "csv", atlas=atlas)
    drawn = cli("like", "Nairobi", "-k", "4", "--format", "csv", "--map", "like.png", atlas=atlas)
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout == plain.stdout
    assert drawn.stderr == plain.stderr + "Map: like.png\n"
    assert (tmp_path / "like.png").read_bytes().startswith(b"\x89PNG")


def test_maps_go_with_regions_with_tables_and_with_areas(cli, atlas, tmp_path):
    (tmp_path / "box.geojson").write_text(json.dumps(BOX))
    (tmp_path / "t.csv").write_text("lon,lat,name\n1,2,a\n-60,-10,b\n")
    for name, extra in {
        "regions.svg": ["--regions", "--within", "box.geojson"],
        "table.svg": ["--table", "t.csv", "--explain"],
        "bbox.svg": ["--bbox", "170,-50,-150,10", "--ocean"],
    }.items():
        done = cli("like", "Lima", "Cairo:2", "--unlike", "Paris", *extra, "--map", name, "-q", atlas=atlas)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        ET.parse(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "said"), [("map.jpg", ".png, .svg, .html"), ("none/map.png", "there is no folder none")]
)
def test_a_map_that_cannot_be_written_is_refused_before_the_search(cli, tmp_path, name, said):
    done = cli("like", "Nairobi", "--map", name, atlas=tmp_path / "no-atlas")
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert "no-atlas" not in done.stderr
    assert done.stderr.count("\n") == 1
