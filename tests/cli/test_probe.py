import csv
import io
import json
import re

import numpy as np
import pytest

from satclip_cli.main import main
from satclip_index.encoder.location_encoder import Encoder, Hyperparameters, Siren
from satclip_train.rasters.point_sampling import uniform_points

ROWS = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table, ``warm`` a function of latitude and ``zone`` of longitude, and a small encoder."""
    folder = tmp_path_factory.mktemp("tables")
    lon, lat = uniform_points(ROWS, np.random.default_rng(0))
    zone = np.where(lon < -60, "west", np.where(lon < 60, "middle", "east"))
    with (folder / "points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "Longitude", "LAT", "warm", "zone", "same"])
        for i in range(ROWS):
            writer.writerow([f"place {i}", lon[i], lat[i], 30 * np.cos(np.deg2rad(lat[i])) + 1, zone[i], 1])
    Encoder(Siren(25, 8, 1, 6), Hyperparameters(5, 8, 1, 6), name="small").save(folder / "small.safetensors")
    return folder


@pytest.fixture
def run(folder, capsys):
    """Run ``satclip-index probe`` on a table with the small encoder: exit code, stdout, stderr."""

    def run(*arguments, table="points.csv", encoder=True):
        chosen = ["--encoder", str(folder / "small.safetensors")] if encoder else []
        with pytest.raises(SystemExit) as end:
            main(["probe", str(folder / table), *map(str, arguments), *chosen])
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return run


def test_a_column_of_numbers_is_regressed_under_random_and_blocked_folds(run):
    code, out, err = run("--target", "warm", "--format", "json")
    assert (code, err) == (0, "warm: regression, 150 rows\n")
    document = json.loads(out)
    assert document["settings"] | {"encoders": None} == {
        "table": "points.csv",
        "target": "warm",
        "task": "regression",
        "rows": ROWS,
        "classes": [],
        "protocol": "folds",
        "seeds": 3,
        "encoders": None,
        "folds": 5,
        "block_degrees": 10.0,
    }
    names = ["small", "harmonics, L = 5", "xyz", "lon/lat", "no information"]
    assert [score["features"] for score in document["scores"][::2]] == names
    harmonics = document["scores"][2]
    assert (harmonics["setting"], harmonics["probe"], harmonics["dim"]) == ("random", "ridge", 25)
    assert len(harmonics["values"]["R2"]) == 3
    assert min(harmonics["values"]["R2"]) > 0.95


def test_text_is_classified_and_a_pipe_gets_json_lines(run):
    code, out, err = run("--target", "zone", "--seeds", 2)
    assert (code, err) == (0, "zone: classification, 3 classes, 150 rows\n")
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 10
    assert set(rows[0]) == {
        *("features", "dim", "probe", "setting", "accuracy", "accuracy std", "macro-F1", "macro-F1 std")
    }
    assert {row["probe"] for row in rows} == {"logistic"}


def test_the_task_can_be_set(run):
    assert "same: regression" not in run("--target", "warm", "--task", "classification")[2]
    assert "different value in every row" in run("--target", "warm", "--task", "classification")[2]
    assert "regression needs numbers" in run("--target", "zone", "--task", "regression")[2]


def test_markdown_is_a_table_for_a_model_card(run, folder):
    code, out, _ = run("--target", "warm", "--format", "markdown", "--encoder", folder / "small.safetensors")
    assert code == 0
    head, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines())
    assert head == ["features", "dim", "probe", "R2 random", "R2 blocked", "RMSE random", "RMSE blocked"]
    assert set(rule) == {"---"}
    assert [row[0] for row in rows[:2]] == ["small", "small (2)"]
    assert rows[0][1:] == rows[1][1:]
    assert all(re.fullmatch(r"-?[\d.,]+ ± [\d.,]+", cell) for row in rows for cell in row[3:])


def test_a_report_can_be_a_file(run, folder):
    code, out, _ = run("--target", "warm", "--seeds", 1, "-o", folder / "card.md")
    assert (code, out) == (0, "")
    assert (folder / "card.md").read_text().startswith("| features |")
    run("--target", "warm", "--seeds", 1, "-o", folder / "scores.csv")
    rows = list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text())))
    assert len(rows) == 10
    assert float(rows[2]["R2"]) > 0.9


def test_a_table_shows_settings_side_by_side(run):
    code, out, _ = run("--target", "warm", "--format", "table")
    assert code == 0
    assert out.split("\n")[0].split("  ")[0] == "features"
    assert "R2 blocked" in out


def test_continents_are_held_out(run):
    code, out, err = run("--target", "warm", "--holdout", "continent", "--seeds", 1)
    assert (code, err) == (0, "warm: regression, 150 rows\n")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["setting"] for row in rows} == {"zero-shot", "1%", "5%", "10%"}
    assert "mean" in {row["continent"] for row in rows}
    code, out, _ = run("--target", "warm", "--continent-column", "zone", "--seeds", 1, "--format", "markdown")
    assert code == 0
    assert {line.split("|")[1].strip() for line in out.splitlines()[2:]} == {"east", "middle", "west", "mean"}


def test_the_notebook_s_protocol_prints_test_mse(run, monkeypatch):
    monkeypatch.setattr(
        "satclip_train.probes.evaluation.notebook_scores", lambda x, y, seed, **_: (0.0063 + seed / 1000, 0.9)
    )
    code, out, _ = run("--target", "warm", "--protocol", "satclip-notebook", "--format", "markdown")
    assert code == 0
    assert out.splitlines()[0] == "| features | dim | probe | test MSE | R2 |"
    assert "| 0.0073 ± 0.0010 | 0.900 ± 0.000 |" in out.splitlines()[2]


def test_rows_without_a_place_or_a_value_are_counted(run, folder):
    lines = (folder / "points.csv").read_text().splitlines()
    spoilt = [lines[0], *lines[1:], "x,abc,1,2,west,1", "x,,1,2,west,1", "x,1,95,2,west,1", "x,5,5,,west,1"]
    spoilt.append("x,5,5,NA,west,1")
    (folder / "spoilt.csv").write_text("\n".join(spoilt) + "\n")
    code, _, err = run("--target", "warm", "--seeds", 1, table="spoilt.csv")
    assert code == 0
    assert err.splitlines() == [
        "rows without a point on Earth left out: 3",
        "rows without warm left out: 2",
        "warm: regression, 150 rows",
    ]


@pytest.mark.parametrize(
    ("name", "text", "arguments", "complaint"),
    [
        ("points.csv", None, ["--target", "warmth"], "no column 'warmth'; it has name, Longitude, LAT, warm, zone"),
        ("points.csv", None, ["--target", "warm", "--lon", "east"], "no column 'east'; it has name"),
        ("points.csv", None, ["--target", "same"], "'same' is 1 in all 150 rows"),
        ("points.csv", None, ["--target", "name"], "'name' has a different value in every row"),
        ("points.csv", None, ["--target", "zone", "--protocol", "satclip-notebook"], "'zone' contains classes"),
        ("points.csv", None, ["--target", "warm", "--format", "xml"], "'xml' is not a format of a report"),
        ("points.csv", None, ["--target", "warm", "--encoder", "nothing"], "No encoder called 'nothing'"),
        ("points.csv", None, ["--target", "warm", "--continent-column", "name"], "different value in most rows"),
        ("none.csv", None, ["--target", "warm"], "No table at"),
        ("t.xlsx", "a,b\n", ["--target", "warm"], "has an unsupported format"),
        ("t.parquet", "not parquet", ["--target", "warm"], "could not be read as a table"),
        ("t.json", "{not json", ["--target", "warm"], "could not be read as a table"),
        ("a.csv", "place,warm\na,1\nb,2\n", ["--target", "warm"], "no coordinates that can be found"),
        ("b.csv", "lon,lat,warm\n500,1,2\n,,3\n", ["--target", "warm"], "None of the 2 rows"),
        ("c.csv", "lon,lat,warm\n1,1,\n2,2,\n", ["--target", "warm"], "No row of"),
        ("d.csv", "lon,lat,warm\n1,1,1.5\n2,2,2.5\n", ["--target", "warm"], "Only 2 rows"),
    ],
)
def test_an_error_is_one_line_and_exit_1(run, folder, name, text, arguments, complaint):
    if text is not None:
        (folder / name).write_text(text)
    code, out, err = run(*arguments, table=name)
    assert (code, out) == (1, "")
    errors = [line for line in err.splitlines() if not line.startswith("warm: ") and not line.startswith("zone: ")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: ")
    assert complaint in errors[0]


def test_usage_errors_exit_2(run):
    assert run("--target", "warm", "--protocol", "other")[0] == 2
    assert run("--target", "warm", "--protocol", "satclip-notebook", "--holdout", "continent")[0] == 2
    assert run()[0] == 2


def test_help_has_an_example(run):
    code, out, _ = run("--help", encoder=False)
    assert code == 0
    assert "Example: satclip-index probe stations.csv" in out
