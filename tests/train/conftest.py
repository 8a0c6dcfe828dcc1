import numpy as np
import pytest
from PIL import Image

from satclip_train.rasters.config import (
    Config,
    DataConfig,
    EncoderConfig,
    PointsConfig,
    PositionConfig,
    Scale,
    TowerConfig,
    TrainingConfig,
)


@pytest.fixture(scope="session")
def rasters(tmp_path_factory):
    """A folder of four small synthetic rasters: smooth bands and noise, wet and dry, with a few towns."""
    folder = tmp_path_factory.mktemp("rasters")
    rng = np.random.default_rng(0)
    lat, lon = np.meshgrid(
        90 - (np.arange(128) + 0.5) * 180 / 128, (np.arange(256) + 0.5) * 360 / 256 - 180, indexing="ij"
    )
    wet = 0.5 + 0.5 * np.cos(np.deg2rad(3 * lat)) * np.cos(np.deg2rad(2 * lon))
    for name, snow in (("december", lat > 45), ("july", lat < -45)):
        image = np.stack([180 - 120 * wet, 150 - 40 * wet, 110 - 80 * wet], axis=-1)
        image = np.where(snow[..., None], 240, image) + rng.normal(0, 5, (128, 256, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
    height = 25 + 100 * np.sin(np.deg2rad(lon)) ** 2 * np.cos(np.deg2rad(lat))
    Image.fromarray(height.astype(np.uint8)).save(folder / "elevation.png")
    night = np.tile(np.array([2, 15, 30], dtype=np.uint8), (128, 256, 1))
    night[rng.random((128, 256)) < 0.02] = 120
    Image.fromarray(night).save(folder / "lights.png")
    return folder


@pytest.fixture
def tiny(rasters):
    """A training run of a second."""
    return Config(
        name="tiny",
        data=DataConfig(
            december=rasters / "december.png",
            july=rasters / "july.png",
            elevation=rasters / "elevation.png",
            night_lights=rasters / "lights.png",
        ),
        points=PointsConfig(sea_share=0.1, lit_share=0.1),
        tower=TowerConfig(
            scales=(Scale(size_km=300, pixels=4), Scale(size_km=1000, pixels=5)), filters=6, keep=8, fit_points=400
        ),
        position=PositionConfig(anchors=12, widths_km=(3000.0,), keep=9),
        encoder=EncoderConfig(legendre_polys=8, capacity=32, embed_dim=16, degree_decay=0.5, w0=45.0),
        training=TrainingConfig(
            steps=20,
            batch_size=128,
            learning_rate=3e-3,
            warmup_steps=3,
            looks_weight=1.0,
            position_weight=1.0,
        ),
    )
