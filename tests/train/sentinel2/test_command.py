import sys

import pytest

from satclip_cli.main import main
from satclip_index.encoder.location_encoder import Encoder
from satclip_train.sentinel2.compute_features import compute_features

from ...processes import finished
from .fixtures import environment, satclip_index, small_config, to_toml, write_data_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    write_data_set(folder / "s2", 12)
    config = small_config(folder / "s2", cache=folder / "features", training={"max_epochs": 1})
    to_toml(config, folder / "s2.toml")
    compute_features(config)
    return folder


@pytest.fixture
def typed(folder, monkeypatch, capsys):
    """Type a command in the folder; return its exit code, stderr and stdout."""

    def type_in(*arguments):
        monkeypatch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return ended.value.code, captured.err, captured.out

    return type_in


def test_train_takes_a_configuration_beside_its_subcommands(typed, folder):
    code, err, out = typed("train", "s2.toml", "-o", "a.ckpt")
    assert (code, out) == (0, "")
    assert err == "12 of 12 tiles used.\nTrained. Build with it: satclip-index build --encoder a.ckpt\n"
    assert Encoder.load(folder / "a.ckpt").dim == 16
    code, err, _ = typed("train", "-o", "b.safetensors", "--quiet", "s2.toml")  # options may come first
    assert (code, err) == (0, "")
    code, err, _ = typed("train", "s2.toml", "-o", "a.ckpt")
    assert code == 1
    assert err.startswith("Error: a.run already contains a run.")
    assert typed("train", "s2.toml", "-o", "a.ckpt", "--resume")[0] == 0


def test_train_features_says_what_it_saw(typed):
    code, err, out = typed("train", "features", "s2.toml")
    assert (code, out) == (0, "")
    assert err == ("12 of 12 tiles used: 2 views each, 794 features. Train on them: satclip-index train s2.toml\n")


def test_train_export_writes_both_formats(typed, folder):
    typed("train", "s2.toml", "-o", "e.ckpt")
    for name in ("x.safetensors", "x.ckpt"):
        code, err, _ = typed("train", "export", "e.run/best.ckpt", "-o", name)
        assert (code, err) == (0, f"Wrote {name}: 16 dimensions, L = 6.\n")
    assert Encoder.load(folder / "x.safetensors").sha256 == Encoder.load(folder / "x.ckpt").sha256


def test_a_configuration_of_rasters_still_goes_to_its_own_trainer(typed, tmp_path, tiny):
    keys = ("december", "july", "elevation", "night_lights")
    lines = ['name = "tiny"', "[data]", *(f'{key} = "{getattr(tiny.data, key)}"' for key in keys)]
    lines += [
        "[tower]",
        "scales = [{ size_km = 300, pixels = 4 }]",
        "filters = 4\nkeep = 4\nfit_points = 200",
        "[position]\nanchors = 12\nwidths_km = [3000]\nkeep = 4",
        "[encoder]\nlegendre_polys = 6\ncapacity = 16\nembed_dim = 8",
        "[training]\nsteps = 2\nbatch_size = 64\nwarmup_steps = 1",
    ]
    (tmp_path / "r.toml").write_text("\n".join(lines))
    code, err, _ = typed("train", tmp_path / "r.toml", "-o", tmp_path / "r.safetensors")
    assert (code, err) == (0, f"Trained. Build with it: satclip-index build --encoder {tmp_path}/r.safetensors\n")
    code, err, _ = typed("train", tmp_path / "r.toml", "--resume")
    assert (code, "--resume and --vision-weights are only for tiles" in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train"], 2, "Missing argument 'CONFIG'"),
        (["train", "none.toml"], 1, "Error: No configuration at none.toml."),
        (["train", "features", "none.toml"], 1, "Error: No configuration at none.toml."),
        (["train", "export", "none.ckpt", "-o", "a.ckpt"], 1, "Error: No encoder file at none.ckpt."),
        (["train", "export", "none.ckpt"], 2, "Missing option"),
        (
            ["train", "s2.toml", "--vision-weights", "none.pth", "-o", "v.ckpt"],
            1,
            "Error: No vision weights at none.pth.",
        ),
    ],
)
def test_errors_are_one_line(typed, arguments, code, message):
    ended, err, out = typed(*arguments)
    assert (ended, out) == (code, "")
    assert message in err
    if code == 1:
        assert err.count("\n") == 1


@pytest.mark.parametrize("command", [["train"], ["train", "features"], ["train", "export"]])
def test_help_has_an_example(typed, command):
    code, _, out = typed(*command, "--help")
    assert code == 0
    assert f"Example: satclip-index {' '.join(command)} " in " ".join(out.split())
    assert f"Usage: satclip-index {' '.join(command)} " in " ".join(out.split())


def test_the_help_of_train_loads_no_torch(folder):
    code = (
        "import sys\nfrom satclip_cli.main import main\n"
        "try: main(['train', '--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    done = finished([sys.executable, "-c", code], env=environment())
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_command_runs_as_a_process(folder):
    done = satclip_index("train", "s2.toml", "-o", "p.ckpt", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("12 of 12 tiles used.\n")


def test_tiles_that_are_not_there_are_said_before_weights_are_fetched(tmp_path, monkeypatch):
    from satclip_index.errors import DataError
    from satclip_train.sentinel2.train import train_on_tiles

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    config = tmp_path / "run.toml"
    config.write_text('name = "x"\n[data]\ntiles = "nowhere"\n[tower]\nname = "resnet18"\nweights = "moco"\n')
    with pytest.raises(DataError, match="No table of tiles"):
        train_on_tiles(config, out=tmp_path / "x.safetensors")
