import huggingface_hub.constants
import pytest
import torch

from satclip_index.errors import ConfigError, DataError
from satclip_train.sentinel2.augment import Views, center_crop, jitter
from satclip_train.sentinel2.vision_towers import identify_weights, load_tower, make_head, make_tower

from .fixtures import ROOT  # noqa: F401  (skips this file where the extra is missing)

IMAGES = torch.rand(2, 13, 256, 256, generator=torch.Generator().manual_seed(0))


def test_random_conv_is_frozen_the_same_every_time_and_sees():
    tower = make_tower("random-conv", 16)
    features = tower.features(IMAGES)
    assert features.shape == (2, tower.dim_features) == (2, 794)
    torch.testing.assert_close(features, make_tower("random-conv", 8, seed=5).features(IMAGES), rtol=0, atol=0)
    assert (features[0] - features[1]).abs().max() > 1e-3
    trained = [name for name, parameter in tower.visual.named_parameters() if parameter.requires_grad]
    assert trained == ["fc.weight", "fc.bias"]


def test_random_conv_tells_a_striped_tile_from_a_plain_one_of_the_same_mean():
    plain = torch.full((1, 13, 256, 256), 0.3)
    striped = plain.clone()
    striped[..., ::8] += 0.2
    striped -= (striped - plain).mean()
    seen = make_tower("random-conv", 4).features(torch.cat([plain, striped]))
    assert (seen[0, 13:] - seen[1, 13:]).abs().max() > 0.02


def test_only_the_head_of_a_timm_tower_trains_and_its_statistics_stay():
    tower = make_tower("resnet18", 16)
    before = tower.visual.bn1.running_mean.clone()
    tower.visual.train()
    tower.freeze()
    assert tower.features(IMAGES).shape == (2, 512)
    assert not tower.features(IMAGES).requires_grad
    torch.testing.assert_close(tower.visual.bn1.running_mean, before, rtol=0, atol=0)
    assert [n for n, p in tower.visual.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    assert tower.visual.conv1.weight.shape[1] == 13


def test_trunk_and_head_make_up_what_timm_computes():
    tower = make_tower("resnet18", 16)
    torch.testing.assert_close(tower.head(tower.features(IMAGES)), tower.visual(IMAGES))


@pytest.mark.parametrize(("name", "head", "crop"), [("resnet50", "fc", 256), ("vit_small_patch16_224", "head", 224)])
def test_the_other_released_towers_work_alike(name, head, crop):
    tower = make_tower(name, 16)
    assert (tower.head_name, tower.crop) == (head, crop)
    images = center_crop(IMAGES, crop)
    torch.testing.assert_close(tower.head(tower.features(images)), tower.visual(images))


def test_weights_come_from_a_file_in_timm_or_in_released_names(tmp_path):
    expected = make_tower("resnet18", 16, seed=3)
    trunk = {key: value for key, value in expected.visual.state_dict().items() if not key.startswith("fc.")}
    torch.save(trunk, tmp_path / "timm.pth")
    torch.save({"state_dict": {f"model.visual.{k}": v for k, v in trunk.items()}}, tmp_path / "released.ckpt")
    for file in ("timm.pth", "released.ckpt"):
        tower = load_tower("resnet18", 8, weights=str(tmp_path / file))
        torch.testing.assert_close(tower.features(IMAGES), expected.features(IMAGES), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [({"conv1.weight": torch.zeros(3)}, "does not fit resnet18: .* first is bn1.bias"), (b"junk", "cannot be read")],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, content, message):
    path = tmp_path / "w.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(DataError, match=message):
        load_tower("resnet18", 8, weights=str(path))
    with pytest.raises(DataError, match="No vision weights at"):
        load_tower("resnet18", 8, weights=str(tmp_path / "none.pth"))


def test_moco_weights_that_cannot_be_fetched_name_the_option(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"Download resnet18_sentinel2_all_moco.* --vision-weights FILE"):
        load_tower("resnet18", 8)


def test_a_tower_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match=r"tower.name is 'resnet19'"):
        make_tower("resnet19", 8)
    with pytest.raises(ConfigError, match=r"no MoCo weights for resnet34"):
        load_tower("resnet34", 8)


def test_a_head_alone_has_the_name_it_has_in_its_tower():
    assert list(make_head("convnext_tiny", "head.fc", 7, 3).visual.state_dict()) == ["head.fc.weight", "head.fc.bias"]


def test_weights_are_told_apart_without_loading_them(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    names = [identify_weights("resnet18", w, 0) for w in ("moco", "none", str(tmp_path / "a"), str(tmp_path / "b"))]
    assert len(set(names)) == 4
    assert identify_weights("resnet18", "none", 0) != identify_weights("resnet18", "none", 1)
    assert identify_weights("random-conv", "moco", 0) == identify_weights("random-conv", "none", 1)


def test_views_crop_flip_and_blur_and_follow_the_seed():
    views = Views(224)

    def drawn(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return views(IMAGES)

    assert drawn(0).shape == (2, 13, 224, 224)
    torch.testing.assert_close(drawn(0), drawn(0), rtol=0, atol=0)
    assert (drawn(0) - drawn(1)).abs().max() > 0.1
    assert drawn(0).std() < 0.95 * IMAGES.std()  # blurred


def test_a_full_crop_moves_nothing_but_flips():
    ramp = torch.arange(256.0)[None, None, None, :].expand(1, 13, 256, 256).contiguous()
    seen = set()
    for seed in range(12):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            row = Views(256)(ramp)[0, 0, 128, 2:-2]
        seen.add(bool(row[0] < row[-1]))
        torch.testing.assert_close(row.sort().values, torch.arange(2.0, 254.0), rtol=0, atol=0.1)
    assert seen == {True, False}


def test_jitter_stays_within_a_hundredth_of_a_degree_and_on_the_earth():
    lon = torch.tensor([0.0, 179.999, -180.0, 12.0], dtype=torch.float64).repeat(500)
    lat = torch.tensor([0.0, 89.999, -90.0, 45.0], dtype=torch.float64).repeat(500)
    moved_lon, moved_lat = jitter(lon, lat)
    assert moved_lon.dtype == moved_lat.dtype == torch.float64
    step = (moved_lon - lon + 180) % 360 - 180
    assert step.abs().max() <= 0.01 + 1e-12
    assert step.abs().max() > 0.0098
    assert (moved_lat - lat).abs().max() <= 0.01
    assert moved_lon.min() >= -180
    assert moved_lon.max() < 180
    assert moved_lat.abs().max() <= 90
