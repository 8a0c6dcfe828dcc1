import dataclasses

import pytest

from satclip_index.errors import ConfigError
from satclip_train.sentinel2.config import OptimConfig, is_tiles_config, read_s2_config

from .fixtures import ROOT, small_config, to_toml

CONFIGS = ROOT / "train" / "configs"
RELEASED = [f"satclip-{tower}-l{degree}" for tower in ("resnet18", "resnet50", "vit16") for degree in (10, 40)]
TOWERS = {"resnet18": "resnet18", "resnet50": "resnet50", "vit16": "vit_small_patch16_224"}


@pytest.mark.parametrize("name", RELEASED)
def test_each_released_recipe_is_the_released_one(name):
    config = read_s2_config(CONFIGS / f"{name}.toml")
    _, tower, degree = name.split("-")
    assert (config.name, config.tower.name, config.tower.weights) == (name, TOWERS[tower], "moco")
    assert f"l{config.encoder.legendre_polys}" == degree
    assert not config.from_cache
    plan = config.training
    assert (plan.batch_size, plan.accumulate, plan.max_epochs, config.seed) == (512, 16, 500, 0)
    assert (plan.learning_rate, plan.weight_decay, plan.schedule, plan.clip_norm) == (1e-4, 0.01, "constant", 0)
    assert (plan.loss, plan.jitter_degrees, config.data.validation_share) == ("clip", 0.01, 0.1)
    shape = config.encoder
    assert (shape.capacity, shape.num_hidden_layers, shape.embed_dim, shape.dropout) == (512, 2, 256, 0.5)
    assert plan == OptimConfig()


def test_the_fast_example_takes_true_batches_of_8192_from_a_cache():
    config = read_s2_config(CONFIGS / "satclip-resnet18-l40-cached.toml")
    assert config.from_cache
    assert (config.training.batch_size, config.training.accumulate) == (8192, 1)


def test_every_configuration_is_read_by_the_trainer_it_is_for():
    kinds = {path.stem: is_tiles_config(path) for path in CONFIGS.glob("*.toml")}
    assert not kinds.pop("bluemarble")
    assert set(kinds) >= {*RELEASED, "satclip-resnet18-l40-cached", "s2-tutorial"}
    for name, tiles in kinds.items():
        if tiles:
            read_s2_config(CONFIGS / f"{name}.toml")


def test_a_configuration_comes_back_from_toml_with_absolute_paths(tmp_path):
    config = small_config(tmp_path / "s2", cache=tmp_path / "f", training={"loss": "siglip", "clip_norm": 0.5})
    assert read_s2_config(to_toml(config, tmp_path / "c.toml")) == config
    (tmp_path / "r.toml").write_text('name = "r"\n[data]\ntiles = "s2"\n[tower]\nweights = "w.pth"\n')
    read = read_s2_config(tmp_path / "r.toml")
    assert (read.data.tiles, read.tower.weights) == (str(tmp_path / "s2"), str(tmp_path / "w.pth"))
    (tmp_path / "v.pth").touch()
    assert read_s2_config(tmp_path / "r.toml", vision_weights=tmp_path / "v.pth").tower.weights.endswith("v.pth")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "a"\n', "data is missing"),
        ('name = "a"\n[data]\n', "data.tiles is missing"),
        ('name = "a"\n[data]\ntiles = "x"\ntypo = 1\n', "unknown key data.typo"),
        ('name = "a"\n[data]\ntiles = "x"\nworkers = 1.5\n', "data.workers is 1.5; expected a whole number"),
        ("name = ", "not a readable TOML file"),
    ],
)
def test_what_a_file_gets_wrong_is_named(tmp_path, text, message):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_s2_config(tmp_path / "c.toml")


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("training", {"loss": "triplet"}, "OptimConfig: loss is 'triplet'; expected 'clip', 'soft' or 'siglip'"),
        ("training", {"batch_size": 1}, "batch_size is 1 over 1 devices"),
        ("training", {"learning_rate": 0.0}, "learning_rate is 0; expected a number above 0"),
        ("training", {"accumulate": 0}, "accumulate is 0; expected a whole number of at least 1"),
        ("training", {"jitter_degrees": -1.0}, "jitter_degrees is -1; expected a number of at least 0"),
        ("data", {"validation_share": 1.0}, "validation_share is 1; expected a number of at least 0 and less than 1"),
        ("data", {"split": "east"}, "split is 'east'; expected 'random' or 'blocked'"),
        ("machine", {"precision": "8"}, "precision is '8'; expected '32', 'bf16' or '16'"),
        (
            "encoder",
            {"harmonics_calculation": "other"},
            "harmonics_calculation is 'other'; expected 'analytic' or 'closed-form'",
        ),
    ],
)
def test_impossible_values_are_refused(tmp_path, section, change, message):
    with pytest.raises(ConfigError, match=message):
        small_config(tmp_path, **{section: change})


def test_configurations_are_frozen(tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        small_config(tmp_path).seed = 3
