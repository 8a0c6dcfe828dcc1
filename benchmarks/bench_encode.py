"""Encoding speed on one CPU thread, beside a plain float64 encoder in the same run.

The plain one is what a notebook would do: scipy's harmonics, one call for every (l, m), and a float64 network. The
released code's own speed, measured while this project was planned on such a machine, is printed for comparison.

A second table has the cells of some base cells at a resolution, as a build encodes them, beside the same cells one by
one; its last columns are how far each is from the same network in float64.

With ``--device cuda`` it measures that device alone, in the precisions that torch has for products of float32 matrices.
"""

import argparse
import math

import numpy as np
import scipy.special
import torch

from common import describe_machine, interleaved_seconds
from satclip_index.encoder.cell_encoder import CellEncoder, Plan
from satclip_index.encoder.location_encoder import Encoder, Hyperparameters, Siren
from satclip_index.geo import grid

RELEASED_PER_S = {10: 54_000, 40: 6_100}  # locations/s, one thread
POINTS = {10: 40_000, 20: 40_000, 40: 10_000}
CELLS = 100_000  # at most
PLAIN_SHARE = 10  # the plain encoder gets every tenth point


def plain_encode(encoder: Encoder, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Encode by scipy and float64, a few thousand points at a time."""
    degree = encoder.hyperparameters.legendre_polys
    network = Siren(degree**2, encoder.hyperparameters.capacity, 2, encoder.dim).double()
    network.load_state_dict(encoder.network.state_dict())
    colatitude, azimuth = np.radians(90 - lat), np.radians(lon)
    features = np.empty((lon.size, degree * degree))
    for l in range(degree):  # noqa: E741
        for m in range(l + 1):
            value = scipy.special.sph_harm_y(l, m, colatitude, azimuth)
            sign = (-1) ** (l + m) * math.sqrt(2)
            features[:, l * l + l + m] = sign * value.real if m else (-1) ** l * math.pi * value.real
            if m:
                features[:, l * l + l - m] = sign * value.imag
    with torch.inference_mode():
        return network(torch.from_numpy(features)).numpy()


def random_encoder(degree: int, capacity: int) -> Encoder:
    """Return an encoder of the released geometry, but for its L and its width, with random weights."""
    torch.manual_seed(0)
    return Encoder(Siren(degree**2, capacity, 2, 256), Hyperparameters(degree, capacity, 2, 256), name="random")


def measure(degree: int, capacity: int) -> str:
    """Return one row of the table."""
    encoder = random_encoder(degree, capacity)
    rng, n = np.random.default_rng(0), POINTS[degree]
    lon, lat = rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    few_lon, few_lat = lon[::PLAIN_SHARE], lat[::PLAIN_SHARE]
    ours, plain = interleaved_seconds(
        lambda: encoder.encode(lon, lat), lambda: plain_encode(encoder, few_lon, few_lat), rounds=5
    )
    difference = np.abs(encoder.encode(few_lon, few_lat) - plain_encode(encoder, few_lon, few_lat)).max()
    ours_per_s, plain_per_s = n / ours, few_lon.size / plain
    return (
        f"| {degree}, {capacity} | {ours_per_s:,.0f} | {plain_per_s:,.0f} | {ours_per_s / plain_per_s:.1f}x "
        f"| {against_released(degree, ours_per_s)} | {difference:.1e} |"
    )


def measure_cells(encoder: Encoder, res: int) -> str:
    """Return one row of the table of cells."""
    degree, cell_encoder = encoder.hyperparameters.legendre_polys, CellEncoder(encoder)
    cells = grid.descendants(grid.cells_at(0)[:60], res)[:CELLS]
    lon, lat = grid.cell_centers(cells)
    few = np.random.default_rng(0).choice(cells.size, min(10_000, cells.size), replace=False)
    by_cells, by_points = interleaved_seconds(
        lambda: cell_encoder.encode(cells, lon, lat), lambda: encoder.encode(lon[few], lat[few]), rounds=5
    )
    exact = encoder.encode(lon[few], lat[few], precision="float64")
    errors = (cell_encoder.encode(cells, lon, lat)[few], encoder.encode(lon[few], lat[few]))
    cells_per_s, points_per_s, plan = cells.size / by_cells, few.size / by_points, Plan.of(degree, res)
    how = f"res {plan.tile_res}, {plan.padua.x.shape[0]} points" if plan else "none"
    return (
        f"| {encoder.name}, {degree} | {res} | {how} | {cells_per_s:,.0f} | {points_per_s:,.0f} "
        f"| {cells_per_s / points_per_s:.2f}x | {against_released(degree, cells_per_s)} | "
        + " | ".join(f"{np.abs(found - exact).max():.1e}" for found in errors)
        + " |"
    )


def measure_device(device: str, res: int, precision: str) -> str:
    """Return one row of the table of a device, for the cells of some base cells at L = 40."""
    encoder, cells = random_encoder(40, 512), grid.descendants(grid.cells_at(0)[:24], res)
    lon, lat = grid.cell_centers(cells)
    torch.set_float32_matmul_precision(precision)
    cell_encoder = CellEncoder(encoder, device=device)
    (by_cells,) = interleaved_seconds(lambda: cell_encoder.encode(cells, lon, lat), rounds=5)
    few = np.random.default_rng(0).choice(cells.size, min(10_000, cells.size), replace=False)
    exact = encoder.encode(lon[few], lat[few], precision="float64").astype(np.float64)
    found = cell_encoder.encode(cells, lon, lat)[few].astype(np.float64)
    cosine = (exact * found).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
    return f"| {res} | {precision} | {cells.size / by_cells:,.0f} | {1 - cosine.min():.1e} |"


def against_released(degree: int, per_s: float) -> str:
    """Return two columns: the released code's speed, and how many times that ours is."""
    released = RELEASED_PER_S.get(degree)
    return f"{released:,} | {per_s / released:.1f}x" if released else "- | -"


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    if device != "cpu":
        print(f"{describe_machine()}, {torch.cuda.get_device_name(device)}\n")
        print(
            "| cells of res | precision of products | cells/s at L = 40 | 1 - least cosine |\n| --- | --- | --- | --- |"
        )
        for precision in ("highest", "high", "medium"):  # float32, TF32, bfloat16
            print(measure_device(device, 6, precision), flush=True)
        return
    torch.set_num_threads(1)
    print(describe_machine() + ", one thread\n")
    print("| L, capacity | ours, locations/s | plain, scipy float64 | ratio | released code | ratio | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for degree, capacity in ((10, 512), (20, 256), (40, 512)):
        print(measure(degree, capacity), flush=True)
    print(
        "\n| encoder, L | cells of res | tiles | by cells, cells/s | one by one | ratio | released code | ratio "
        "| error by cells | one by one |"
    )
    print("| --- " * 10 + "|")
    for encoder in (random_encoder(40, 512), Encoder.load("bluemarble")):
        for res in (3, 4, 5, 6, 7):
            print(measure_cells(encoder, res), flush=True)


if __name__ == "__main__":
    main()
