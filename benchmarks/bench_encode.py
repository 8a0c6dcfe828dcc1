"""Encoding speed on one CPU thread, beside a plain float64 encoder in the same run.

The plain one is what a notebook would do: scipy's harmonics, one call for every (l, m), and a float64 network. The
released code's own speed, measured while this project was planned on such a machine, is printed for comparison.
"""

import math

import numpy as np
import scipy.special
import torch

from common import describe_machine, interleaved_seconds
from satclip_index.encoder import Encoder, Hyperparameters, Siren

RELEASED_PER_S = {10: 54_000, 40: 6_100}  # locations/s, one thread
POINTS = {10: 40_000, 20: 40_000, 40: 10_000}
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


def measure(degree: int, capacity: int) -> str:
    """Return one row of the table."""
    torch.manual_seed(0)
    hyperparameters = Hyperparameters(degree, capacity, 2, 256)
    encoder = Encoder(Siren(degree**2, capacity, 2, 256), hyperparameters, name="random")
    rng, n = np.random.default_rng(0), POINTS[degree]
    lon, lat = rng.uniform(-180, 180, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    few_lon, few_lat = lon[::PLAIN_SHARE], lat[::PLAIN_SHARE]
    ours, plain = interleaved_seconds(
        lambda: encoder.encode(lon, lat), lambda: plain_encode(encoder, few_lon, few_lat), rounds=5
    )
    difference = np.abs(encoder.encode(few_lon, few_lat) - plain_encode(encoder, few_lon, few_lat)).max()
    ours_per_s, plain_per_s = n / ours, few_lon.size / plain
    released = RELEASED_PER_S.get(degree)
    against = f"{released:,} | {ours_per_s / released:.1f}x" if released else "- | -"
    return (
        f"| {degree}, {capacity} | {ours_per_s:,.0f} | {plain_per_s:,.0f} | {ours_per_s / plain_per_s:.1f}x "
        f"| {against} | {difference:.1e} |"
    )


def main() -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    print(describe_machine() + ", one thread\n")
    print("| L, capacity | ours, locations/s | plain, scipy float64 | ratio | released code | ratio | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for degree, capacity in ((10, 512), (20, 256), (40, 512)):
        print(measure(degree, capacity))


if __name__ == "__main__":
    main()
