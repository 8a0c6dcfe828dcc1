"""Linear probes of an encoder beside features that have seen no image: the scores of docs/model-card.md.

Run from the repository root, with the real data in ../shared:

    python benchmarks/bench_probes.py [bluemarble|FILE]
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from satclip_index.encoder.location_encoder import Encoder
from satclip_train.probes.baselines import baseline_features
from satclip_train.probes.folds import probe

TABLES = Path(__file__).parents[2] / "shared" / "data" / "tables"


def columns(name: str, target: str) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return lon, lat and the target column of a table."""
    with (TABLES / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lon, lat = (np.array([float(row[axis]) for row in rows]) for axis in ("lon", "lat"))
    return lon, lat, [row[target] for row in rows]


def contenders(
    encoder: Encoder, lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the encoder's embedding, then every baseline."""
    embedding = encoder.encode(lon, lat).astype(np.float64)
    yield encoder.name, embedding
    yield f"{encoder.name}, unit norm", embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    yield from baseline_features(lon, lat, encoder.hyperparameters.legendre_polys)
    if encoder.hyperparameters.legendre_polys != 20:
        yield from list(baseline_features(lon, lat, 20))[2:]


def main() -> None:
    """Print a Markdown table."""
    encoder = Encoder.load(sys.argv[1] if len(sys.argv) > 1 else "bluemarble")
    tasks = {
        "air temperature": ("air_temperature_stations.csv", "mean_temperature_c", np.float64),
        "country": ("populated_places.csv", "country", np.str_),
        "log population": ("populated_places.csv", "pop_max", np.float64),
    }
    print("| target | features | metric | random folds | blocked folds |\n| --- | --- | --- | --- | --- |")
    for task, (table, target, kind) in tasks.items():
        lon, lat, values = columns(table, target)
        y = np.array(values, dtype=kind)
        if task == "log population":
            y = np.log1p(np.maximum(y, 0))
        for name, features in contenders(encoder, lon, lat):
            scores = probe(features, y, lon, lat)
            row = f"| {task} | {name} | {scores.metric} | {scores.random:.3f} | {scores.blocked:.3f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
