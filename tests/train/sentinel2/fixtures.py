"""Small Sentinel-2 data sets that are written for the tests, and runs over them."""

import csv
import os
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("lightning") is None or find_spec("rasterio") is None:
    pytest.skip("needs the extra satclip-index[train]", allow_module_level=True)

import rasterio

from satclip_train.sentinel2.config import (
    CacheConfig,
    LocationConfig,
    MachineConfig,
    OptimConfig,
    S2Config,
    TilesConfig,
    VisionConfig,
)

from ...processes import finished

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data" / "s2"
COMMAND = Path(__file__).with_name("command.py")
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/s2")


def write_tile(path, rng, *, bands=12, pixels=256, dtype="uint16"):
    """Write a GeoTIFF of blocks, of 13 to 60 kB."""
    blocks = rng.integers(300, 9000, (bands, pixels // 8, pixels // 8))
    image = np.kron(blocks, np.ones((1, 8, 8), dtype=int)).astype(dtype)
    profile = {"driver": "GTiff", "height": pixels, "width": pixels, "count": bands, "dtype": dtype}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(path, "w", compress="deflate", **profile, **place) as file:
        file.write(image)
    return image


def write_table(path, rows, *, columns=("fn", "lon", "lat"), encoding="utf-8"):
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="-")
        writer.writeheader()
        writer.writerows(dict(zip(("fn", "lon", "lat"), row, strict=True)) for row in rows)


def write_data_set(folder, count, *, seed=0):
    """Write ``images/`` and ``index.csv``; return the rows of the table."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(count):
        write_tile(folder / "images" / f"patch_{i}.tif", rng)
        rows.append((f"patch_{i}.tif", float(rng.uniform(-180, 180)), float(rng.uniform(-80, 80))))
    write_table(folder / "index.csv", rows)
    return rows


def write_shards(folder, data_set, *, shards=3):
    """Pack a data set as S2-100K is distributed."""
    (folder / "data").mkdir(parents=True)
    (folder / "index.csv").write_bytes((data_set / "index.csv").read_bytes())
    files = sorted((data_set / "images").iterdir())
    for number in range(shards):
        with tarfile.open(folder / "data" / f"shard-{number}.tar", "w") as archive:
            for file in files[number::shards]:
                archive.add(file, arcname=f"images/{file.name}")
    return folder


def small_config(data_set, *, cache="", **changes):
    """Return a run of seconds; changes go by section, and ``cache`` may be just its folder."""
    cache = cache if isinstance(cache, dict) else {"folder": str(cache)}
    sections = {
        "data": {"tiles": str(data_set)},
        "tower": {"name": "random-conv"},
        "cache": {"views": 2, "shard_tiles": 8, "batch_size": 4} | cache,
        "encoder": {"legendre_polys": 6, "capacity": 32, "embed_dim": 16},
        "training": {"batch_size": 8, "accumulate": 1, "max_epochs": 2},
        "machine": {"accelerator": "cpu"},
    }
    kinds = {
        "data": TilesConfig,
        "tower": VisionConfig,
        "cache": CacheConfig,
        "encoder": LocationConfig,
        "training": OptimConfig,
        "machine": MachineConfig,
    }
    tables = {name: kinds[name](**sections[name] | changes.pop(name, {})) for name in sections}
    return S2Config(name="small", **tables, **changes)


def to_toml(config, path):
    """Write a configuration as the file that says it."""
    import dataclasses

    lines = [f'name = "{config.name}"', f"seed = {config.seed}"]
    for section in ("data", "tower", "cache", "encoder", "training", "machine"):
        lines.append(f"[{section}]")
        for key, value in dataclasses.asdict(getattr(config, section)).items():
            lines.append(f"{key} = {value!r}" if not isinstance(value, str) else f'{key} = "{value}"')
    path.write_text("\n".join(lines) + "\n")
    return path


def environment(**more):
    """Return the environment of a process that finds the packages and keeps to one thread."""
    places = [str(ROOT), str(ROOT / "cli"), str(ROOT / "train"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"} | more


def satclip_index(*arguments, cwd, **more):
    """Type a command."""
    return finished([sys.executable, COMMAND, *arguments], cwd=cwd, env=environment(**more))


def losses(folder, column="train_loss"):
    """Return step to loss, of every log of a run; the later ones stand."""
    values = {}
    for log in sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with log.open() as file:
            values |= {int(row["step"]): float(row[column]) for row in csv.DictReader(file) if row.get(column)}
    return values
