from pathlib import Path

import pytest

from satclip_index.errors import ConfigError
from satclip_train.rasters.config import read_config
from satclip_train.rasters.random_conv_tower import Scale

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
    assert config.tower.scales == (Scale(80.0, 8),)
    assert config.data.december == tmp_path / "a.jpg"
    assert config.data.elevation == Path("/c.jpg")
    assert config.data.night_lights == tmp_path / "../d.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nlerning_rate = 1", "unknown key training.lerning_rate"),
        ("[training]\nsteps = 1.5", "training.steps is 1.5; expected a whole number"),
        ("[training]\nsteps = true", "training.steps is True; expected a whole number"),
        ("[training]\nlearning_rate = 'fast'", "training.learning_rate is 'fast'; expected a number"),
        ("[training]\ntemperature = -1", "training.temperature is -1; expected at least 0"),
        ("[training]\nlearning_rate = nan", "training.learning_rate is nan; expected more than 0"),
        ("[tower]\nscales = 3", "tower.scales is 3; expected a list"),
        ("[tower]\nscales = [{size_km = 3}]", r"tower.scales\[0\].pixels is missing"),
        ("[tower]\nscales = []", "tower.scales is empty"),
        ("[tower.weights]\nsmell = 1.0", "tower.weights has 'smell'"),
        ("[tower.weights]\ncolour = 0", "leaves out every group"),
        ("[points]\nsea_share = 0.7\nlit_share = 0.5", "sea_share . points.lit_share is 1.2"),
        ("[encoder]\ndropout = 1", "encoder.dropout is 1"),
        ("encoder = 3", "unknown key data.encoder"),
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
