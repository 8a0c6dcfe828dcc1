import copy
import dataclasses
import pickle
from pathlib import Path

import pytest

from satclip_index.errors import ConfigError
from satclip_train.rasters.config import Scale, TrainingConfig, read_config

DATA = """
name = "x"
[data]
december = "a.jpg"
july = "b.jpg"
elevation = "/c.jpg"
night_lights = "../d.jpg"
"""


def read(tmp_path, text):
    (tmp_path / "config.toml").write_text(text)
    return read_config(tmp_path / "config.toml")


def test_a_configuration_holds_what_the_file_says(tmp_path):
    text = f"seed = 3\n{DATA}[tower]\nscales = [{{size_km = 80, pixels = 8}}]\n[training]\nlearning_rate = 1\n"
    config = read(tmp_path, text)
    assert (config.name, config.seed, config.training.learning_rate) == ("x", 3, 1.0)
    assert config.tower.scales == (Scale(size_km=80.0, pixels=8),)
    assert config.data.december == tmp_path / "a.jpg"
    assert config.data.elevation == Path("/c.jpg")
    assert config.data.night_lights == tmp_path / "../d.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nlerning_rate = 1", "unknown key training.lerning_rate; did you mean learning_rate[?]"),
        ("[training]\nsteps = 1.5", "training.steps is 1.5; expected a whole number of at least 1[.]"),
        ("[training]\nsteps = true", "training.steps is true; expected a whole number"),
        ("[training]\nlearning_rate = 'fast'", "training.learning_rate is 'fast'; expected a number"),
        ("[training]\ntemperature = -1", "training.temperature is -1; expected a number of at least 0"),
        ("[training]\nlearning_rate = nan", "training.learning_rate is nan; expected a number above 0"),
        ("[tower]\nscales = 3", "tower.scales is 3; expected a list"),
        ("[tower]\nscales = [{size_km = 3}]", r"tower.scales\[0\].pixels is missing"),
        ("[tower]\nscales = []", r"tower.scales is \[\]; expected a list of at least 1 item"),
        ("[tower.weights]\nsmell = 1.0", "unknown key tower.weights.smell; expected colour, season"),
        ("[tower.weights]\ncolour = 0", "leaves out every group"),
        ("[points]\nsea_share = 0.7\nlit_share = 0.5", "points.sea_share . lit_share is 1.2; expected less than 1"),
        ("[encoder]\ndropout = 1", "encoder.dropout is 1; expected a number of at least 0 and less than 1"),
        ("[encoder]\nw0 = inf", "encoder.w0 is inf; expected a number above 0"),
        ("[encoder]\nw0 = true", "encoder.w0 is true; expected a number"),
        ("[encoder]\ndegree_decay = nan", "encoder.degree_decay is nan; expected a number"),
        ("[encoder]\nseed = 1", "unknown key encoder.seed; did you mean seed"),
        ("[points]\nbatch_size = 9", "unknown key points.batch_size; did you mean training.batch_size"),
        ("encoder = 3", "unknown key data.encoder; expected december, july, elevation or night_lights"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, f"{DATA}{text}\n")


def test_a_missing_path_a_missing_file_and_bad_toml_are_one_clear_line(tmp_path):
    with pytest.raises(ConfigError, match="data is missing"):
        read(tmp_path, 'name = "x"')
    with pytest.raises(ConfigError, match=r"data\.july is missing"):
        read(tmp_path, DATA.replace("july", "#"))
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        read(tmp_path, "name = ")
    with pytest.raises(ConfigError, match=r"No configuration at .*gone\.toml"):
        read_config(tmp_path / "gone.toml")


def test_the_committed_configuration_is_valid():
    config = read_config(Path(__file__).parents[3] / "train" / "configs" / "bluemarble.toml")
    assert config.name == "bluemarble"
    assert config.encoder.embed_dim == 256


def test_several_mistakes_are_listed_in_one_line_and_only_the_first_five(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{DATA}[training]\nsteps = 0\nbatchsize = 3\n[encoder]\nw0 = inf\n")
    assert str(caught.value) == (
        f"{tmp_path / 'config.toml'}: unknown key training.batchsize; did you mean batch_size? "
        "encoder.w0 is inf; expected a number above 0. "
        "training.steps is 0; expected a whole number of at least 1."
    )
    with pytest.raises(ConfigError, match=r"steps is 0; expected .* And 2 more\.$"):
        read(
            tmp_path,
            f"{DATA}[training]\nsteps = 0\n"
            + "".join(f"unknown_{i} = 1\n" for i in "abcd")
            + "batch_size = 0\ntemperature = -1\n",
        )


def test_a_wrong_item_of_a_list_is_the_only_mistake_reported(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{DATA}[position]\nwidths_km = [-2]\n")
    assert str(caught.value).endswith("config.toml: position.widths_km[0] is -2; expected a number above 0.")


def test_a_section_made_in_python_is_checked_and_frozen(tmp_path):
    with pytest.raises(ConfigError, match=r"^TrainingConfig: steps is 0; expected a whole number of at least 1\.$"):
        TrainingConfig(steps=0)
    with pytest.raises(TypeError, match="positional"):
        TrainingConfig(3)
    config = read(tmp_path, DATA)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3
    for copied in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config), dataclasses.replace(config)):
        assert copied == config
    assert not hasattr(config, "__dict__")
