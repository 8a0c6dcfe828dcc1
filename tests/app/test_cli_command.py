import json
import shlex

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from satclip_cli.main import app
from satclip_index.app._answer_cache import AnswerCache
from satclip_index.app._cli_command import like_arguments, like_command
from satclip_index.app._state import Example, State
from satclip_index.app._user_table import Table, Upload

from .cases import EXAMPLES, TRIANGLE, states

LIKE = typer.main.get_command(app).commands["like"]
ASKING = EXAMPLES.filter(lambda examples: any(not example.unlike for example in examples))


@given(states(examples=ASKING), st.sampled_from(["atlas", "/tmp/my atlas"]))
def test_the_command_line_reads_the_arguments_as_the_state_has_them(state, atlas):
    # As satclip_cli.main.main does: a leading minus is a longitude's.
    given = [f" {part}" if part.startswith("-7") else part for part in like_arguments(state, atlas)]
    read = LIKE.make_context("like", given).params
    assert [place.strip() for place in read["places"]] == state.like()
    assert [place.strip() for place in read["unlike"] or []] == state.unlike()
    assert (read["k"], read["res"], read["ocean"]) == (state.k, state.res, state.ocean)
    assert (read["exclude_within"], read["apart"]) == (state.exclude_within_km, state.apart_km)
    assert read["min_similarity"] == state.min_similarity
    assert list(read["within"] or []) == (["area.geojson"] if state.within else [])
    assert (str(read["table"] or ""), read["where"] or "") == (state.table, state.where)
    assert str(read["atlas"]) == atlas


@given(states(examples=ASKING))
def test_the_line_survives_a_shell(state):
    line = like_command(state, "my atlas").rpartition(" && ")[2]
    assert shlex.split(line)[2:] == like_arguments(state, "my atlas")


CSV = b"lon,lat,population\n" + b"".join(b"%d,%d,%d\n" % (x, x // 3, x * 1000) for x in range(-170, 170, 10))


@pytest.mark.parametrize(
    "state",
    [
        State((Example("Nairobi"), Example("-70.5,-33.4", 2.5), Example("Cairo", unlike=True)), k=4),
        State((Example("Nairobi"),), exclude_within_km=100, apart_km=0, ocean=True, res=1, min_similarity=-0.5, k=30),
        State((Example("Lima"),), within=TRIANGLE, k=3),
        State((Example("Lima"),), table="my table.csv", where="population > 10 AND population <> 40000", k=3),
    ],
)
def test_the_command_gives_the_very_answer_of_the_page(state, atlas, cli, tmp_path):
    table = None
    if state.table:
        (tmp_path / state.table).write_bytes(CSV)
        upload = Upload(state.table)
        upload.write(CSV)
        table = Table(upload)
    (tmp_path / "area.geojson").write_text(state.within)
    answer = AnswerCache(atlas).answer(state, table)
    done = cli(*shlex.split(like_command(state, str(atlas.path)).rpartition(" && ")[2])[1:], "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == len(answer.places) > 0
    assert [int(row["cell"], 16) for row in rows] == answer.places.cell.tolist()
    assert [row["similarity"] for row in rows] == [row["similarity"] for row in answer.places.rows()]
    if table:
        table.close()


def test_an_area_is_written_to_a_file_first_by_the_shell(tmp_path):
    import subprocess

    state = State((Example("Lima"),), within=TRIANGLE)
    first = like_command(state, "atlas").partition(" && ")[0]
    subprocess.run(["sh", "-c", first], cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "area.geojson").read_text()) == json.loads(TRIANGLE)


def test_a_large_area_is_named_by_its_own_file():
    area = json.dumps({"type": "Polygon", "coordinates": [[[i / 50, 1] for i in range(500)]]})
    line = like_command(State((Example("Lima"),), within=area, within_name="my area.geojson"), "atlas")
    assert line.startswith("satclip-index like Lima ")
    assert "--within 'my area.geojson'" in line
