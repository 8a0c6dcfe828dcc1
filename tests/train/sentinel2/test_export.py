import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from satclip_index.encoder.location_encoder import Encoder, Siren
from satclip_index.encoder.spherical_harmonics import real_harmonics
from satclip_index.errors import ConfigError, EncoderError
from satclip_train.sentinel2.compute_features import compute_features
from satclip_train.sentinel2.export import export
from satclip_train.sentinel2.lightning_parts import LightningModule
from satclip_train.sentinel2.train import train_on_tiles
from satclip_train.sentinel2.vision_towers import make_tower

from .fixtures import small_config, write_data_set

LON, LAT = np.linspace(-180, 180, 200), np.linspace(-90, 90, 200)

# What the constructor of the released Lightning module takes (microsoft/satclip, main.py): it refuses anything else.
CONSTRUCTOR = {
    "embed_dim",
    "image_resolution",
    "vision_layers",
    "vision_width",
    "vision_patch_size",
    "in_channels",
    "le_type",
    "pe_type",
    "frequency_num",
    "max_radius",
    "min_radius",
    "legendre_polys",
    "harmonics_calculation",
    "sh_embedding_dims",
    "learning_rate",
    "weight_decay",
    "num_hidden_layers",
    "capacity",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two short runs: of a whole tower, and from a cache."""
    folder = tmp_path_factory.mktemp("export")
    write_data_set(folder / "s2", 10)
    tower = {"name": "resnet18", "weights": "none"}
    whole = small_config(folder / "s2", tower=tower, training={"max_epochs": 1})
    cached = small_config(folder / "s2", cache=folder / "features", tower=tower, training={"max_epochs": 1})
    compute_features(cached)
    train_on_tiles(whole, out=folder / "whole.ckpt")
    train_on_tiles(cached, out=folder / "cached.safetensors")
    return folder


class Released(LightningModule):
    """Takes what the released module takes, and has tensors of its names."""

    def __init__(
        self,
        embed_dim,
        image_resolution,
        vision_layers,
        vision_width,
        vision_patch_size,
        in_channels,
        le_type,
        pe_type,
        frequency_num,
        max_radius,
        min_radius,
        legendre_polys,
        harmonics_calculation,
        sh_embedding_dims,
        learning_rate,
        weight_decay,
        num_hidden_layers,
        capacity,
    ):
        super().__init__()
        self.save_hyperparameters()
        self.model = _released_tree(self.hparams).model


def _released_tree(hyperparameters):
    """Return modules whose tensors are named as the released ones are, made from hyper-parameters alone."""
    names = {"moco_resnet18": "resnet18"}
    module, model = nn.Module(), nn.Module()
    siren = Siren(
        hyperparameters["legendre_polys"] ** 2,
        hyperparameters["capacity"],
        hyperparameters["num_hidden_layers"],
        hyperparameters["embed_dim"],
    ).double()
    module.model = model
    model.visual = make_tower(
        names[hyperparameters["vision_layers"]], hyperparameters["embed_dim"], in_chans=hyperparameters["in_channels"]
    ).visual
    model.nnet = siren
    model.location = nn.Module()
    model.location.nnet = siren
    model.logit_scale = nn.Parameter(torch.zeros(()))
    return module


def test_an_export_has_the_released_layout(folder):
    checkpoint = torch.load(folder / "whole.ckpt", weights_only=True)
    assert set(checkpoint["hyper_parameters"]) == CONSTRUCTOR
    assert {"state_dict", "hyper_parameters", "pytorch-lightning_version", "epoch", "global_step"} <= set(checkpoint)
    state = checkpoint["state_dict"]
    location = {key: tensor for key, tensor in state.items() if ".nnet." in key}
    assert {tensor.dtype for tensor in location.values()} == {torch.float64}
    assert len(location) == 12
    for key, tensor in location.items():
        twin = key.replace("model.location.nnet.", "model.nnet.")
        assert torch.equal(state[twin], tensor)
    assert state["model.logit_scale"].shape == ()
    _released_tree(checkpoint["hyper_parameters"]).load_state_dict(state, strict=True)


def test_lightning_loads_an_export_into_a_module_of_the_released_signature(folder):
    module = Released.load_from_checkpoint(folder / "whole.ckpt", map_location="cpu", weights_only=True)
    lon, lat = (torch.from_numpy(values) for values in (LON, LAT))
    with torch.inference_mode():
        theirs = module.model.location.nnet(real_harmonics(lon, lat, module.hparams["legendre_polys"]).T)
    ours = Encoder.load(folder / "whole.ckpt").encode(LON, LAT, precision="float64")
    np.testing.assert_array_equal(theirs.float().numpy(), ours)


def test_every_file_of_a_run_gives_the_same_embeddings(folder, tmp_path):
    expected = Encoder.load(folder / "whole.ckpt").encode(LON, LAT)
    export(folder / "whole.run" / "best.ckpt", tmp_path / "a.safetensors")
    for source in (folder / "whole.run" / "best.ckpt", folder / "whole.run" / "last.ckpt", tmp_path / "a.safetensors"):
        np.testing.assert_array_equal(Encoder.load(source).encode(LON, LAT), expected)


def test_a_round_trip_is_exact(folder, tmp_path):
    start = folder / "whole.ckpt"
    export(start, tmp_path / "1.safetensors")
    export(tmp_path / "1.safetensors", tmp_path / "2.ckpt")
    export(tmp_path / "2.ckpt", tmp_path / "3.safetensors")
    with safe_open(tmp_path / "1.safetensors", "pt") as one, safe_open(tmp_path / "3.safetensors", "pt") as three:
        assert set(one.keys()) == set(three.keys())
        for key in one.keys():  # noqa: SIM118
            assert one.get_tensor(key).dtype == torch.float64
            assert torch.equal(one.get_tensor(key), three.get_tensor(key))
    encoders = [Encoder.load(path) for path in (start, *sorted(tmp_path.iterdir()))]
    assert len({encoder.sha256 for encoder in encoders}) == 1
    held = [torch.load(path, weights_only=True)["state_dict"] for path in (start, tmp_path / "2.ckpt")]
    for key, tensor in held[1].items():
        if ".nnet." in key:
            assert torch.equal(tensor, held[0][key])


def test_a_released_checkpoint_comes_through_unchanged(folder, tmp_path):
    export(folder / "whole.ckpt", tmp_path / "again.ckpt")
    first, second = (torch.load(path, weights_only=True) for path in (folder / "whole.ckpt", tmp_path / "again.ckpt"))
    assert first["hyper_parameters"] == second["hyper_parameters"]
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for key, tensor in first["state_dict"].items():
        assert torch.equal(second["state_dict"][key], tensor), key


def test_a_run_from_a_cache_is_completed_by_the_weights_of_its_trunk(folder, tmp_path):
    best = folder / "cached.run" / "best.ckpt"
    bare = export(best, tmp_path / "bare.ckpt")
    keys = torch.load(tmp_path / "bare.ckpt", weights_only=True)["state_dict"]
    assert {key for key in keys if ".visual." in key} == {"model.visual.fc.weight", "model.visual.fc.bias"}
    trunk = make_tower("resnet18", 4, seed=0).visual.state_dict()
    torch.save({key: value for key, value in trunk.items() if not key.startswith("fc.")}, tmp_path / "trunk.pth")
    full = export(best, tmp_path / "full.ckpt", vision_weights=tmp_path / "trunk.pth")
    assert full.sha256 == bare.sha256
    checkpoint = torch.load(tmp_path / "full.ckpt", weights_only=True)
    _released_tree(checkpoint["hyper_parameters"]).load_state_dict(checkpoint["state_dict"], strict=True)
    assert torch.equal(checkpoint["state_dict"]["model.visual.fc.weight"], keys["model.visual.fc.weight"])
    assert torch.equal(checkpoint["state_dict"]["model.visual.conv1.weight"], trunk["conv1.weight"])


def test_no_tower_is_made_or_fetched_to_train_from_a_cache_or_to_export(folder, tmp_path, monkeypatch):
    from satclip_train.sentinel2 import train, vision_towers

    def fail(*_, **__):
        raise AssertionError("a tower was made")

    for module, name in ((train, "load_tower"), (vision_towers, "import_timm"), (vision_towers, "_moco_file")):
        monkeypatch.setattr(module, name, fail)
    tower = {"name": "resnet18", "weights": "none"}
    config = small_config(folder / "s2", cache=folder / "features", tower=tower, training={"max_epochs": 1})
    train_on_tiles(config, out=tmp_path / "a.ckpt")
    train_on_tiles(config, out=tmp_path / "a.ckpt", resume=True)
    export(tmp_path / "a.run" / "last.ckpt", tmp_path / "b.safetensors")


def test_the_closed_form_convention_is_written_and_read(folder, tmp_path):
    config = small_config(
        folder / "s2",
        training={"max_epochs": 1},
        encoder={"harmonics_calculation": "closed-form"},
    )
    train_on_tiles(config, out=tmp_path / "a.ckpt")
    assert Encoder.load(tmp_path / "a.ckpt").hyperparameters.harmonics_calculation == "closed-form"


def test_the_bundled_encoder_can_leave_in_the_released_layout(tmp_path):
    encoder = export("bluemarble", tmp_path / "b.ckpt")
    assert encoder.sha256 == Encoder.load("bluemarble").sha256
    assert set(torch.load(tmp_path / "b.ckpt", weights_only=True)["hyper_parameters"]) == CONSTRUCTOR


def test_what_cannot_be_exported_says_why(folder, tmp_path):
    with pytest.raises(ConfigError, match=r"is '.pt'; expected .ckpt or .safetensors"):
        export(folder / "whole.ckpt", tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="cannot contain vision weights"):
        export(folder / "whole.ckpt", tmp_path / "a.safetensors", vision_weights=tmp_path)
    with pytest.raises(ConfigError, match="checkpoint does not name its tower"):
        export(folder / "whole.ckpt", tmp_path / "a.ckpt", vision_weights=tmp_path)
    with pytest.raises(EncoderError, match="No encoder file"):
        export(tmp_path / "none.ckpt", tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())
