"""The encoder that ships, judged on real tables."""

import csv

import numpy as np
import pytest

from satclip_index.encoder.location_encoder import Encoder
from satclip_train.probes.baselines import baseline_features
from satclip_train.probes.folds import probe

from ...conftest import ROOT, SHARED

TABLES = SHARED / "tables"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not TABLES.is_dir(), reason="the real data in ../shared are not here"),
]


def table(name, target, count):
    """A sample of a table's rows: lon, lat, target."""
    with (TABLES / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [rows[at] for at in np.random.default_rng(0).permutation(len(rows))[:count]]
    lon, lat = (np.array([float(row[axis]) for row in rows]) for axis in ("lon", "lat"))
    return lon, lat, np.array([row[target] for row in rows])


def scores_beside_baselines(lon, lat, target):
    encoder = Encoder.load("bluemarble")
    ours = probe(encoder.encode(lon, lat), target, lon, lat)
    others = {}
    for name, features in baseline_features(lon, lat, encoder.hyperparameters.legendre_polys):
        others[name] = probe(features, target, lon, lat).blocked
    return ours, others


def test_air_temperature_is_read_from_the_embedding_where_no_station_was_seen():
    lon, lat, target = table("air_temperature_stations.csv", "mean_temperature_c", 900)
    ours, others = scores_beside_baselines(lon, lat, target.astype(float))
    assert ours.random > 0.93
    assert ours.blocked > 0.90
    assert max(others.values()) < ours.blocked - 0.05, others


def test_the_country_is_read_where_none_was_seen_better_than_from_coordinates_and_harmonics_of_the_same_degree():
    lon, lat, target = table("populated_places.csv", "country", 2500)
    ours, others = scores_beside_baselines(lon, lat, target)
    untrained = others.pop("untrained SIREN, L = 14")
    assert max(others.values()) < ours.blocked - 0.03, others
    assert ours.blocked > untrained - 0.03, "as the model card says, it is no better than this one"


def test_manaus_resembles_the_congo_and_not_the_sahara():
    encoder = Encoder.load("bluemarble")
    lon = [-60.0, 23.0, 10.0, 100.0, -40.0]  # Manaus, Congo basin, Sahara, Siberian taiga, Greenland
    lat = [-3.1, -1.0, 24.0, 62.0, 72.0]
    unit = encoder.encode(lon, lat)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    similarity = unit[1:] @ unit[0]
    assert similarity.argmax() == 0
    assert similarity[0] > similarity[2:].max() + 0.3


def test_the_bundled_encoder_is_small_and_named():
    encoder = Encoder.load("bluemarble")
    assert (encoder.name, encoder.dim) == ("bluemarble", 256)
    file = ROOT / "satclip_index" / "encoder" / "bundled" / "bluemarble.safetensors"
    assert file.stat().st_size < 6e6
    assert np.isfinite(encoder.encode([0, 180, -180, 0], [90, -90, 0, 0])).all()
