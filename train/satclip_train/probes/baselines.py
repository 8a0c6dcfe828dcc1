"""Features to probe: the embeddings of encoders, and baselines that use no image."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from satclip_index.encoder.location_encoder import Encoder, Siren
from satclip_index.encoder.spherical_harmonics import real_harmonics
from satclip_index.geo.sphere import unit_vectors

FloatVector = NDArray[np.float64]
FloatMatrix = NDArray[np.float64]


def features_by_name(lon: FloatVector, lat: FloatVector, encoders: Iterable[Encoder]) -> dict[str, FloatMatrix]:
    """Return the features of each encoder and of each baseline, by name.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180].
    encoders : iterable of Encoder
        The second encoder of a name gets the suffix `` (2)``, and so on.

    Returns
    -------
    dict of (n, d) float64
        The raw embedding of each encoder, in the order given; then, for each L among them, the harmonics that are the
        input of its network; then ``xyz`` on the unit sphere, ``lon/lat`` in degrees, and the constant
        ``no information``.
    """
    encoders = list(encoders)
    features: dict[str, FloatMatrix] = {}
    for encoder in encoders:
        name, number = encoder.name, 1
        while name in features:
            number += 1
            name = f"{encoder.name} ({number})"
        features[name] = encoder.encode(lon, lat).astype(np.float64)
    for legendre_polys in sorted({encoder.hyperparameters.legendre_polys for encoder in encoders}, reverse=True):
        features[_harmonics_name(legendre_polys)] = _harmonics(lon, lat, legendre_polys).contiguous().numpy()
    features["xyz"] = unit_vectors(lon, lat)
    features["lon/lat"] = np.stack([lon, lat], axis=1)
    features["no information"] = np.zeros((lon.size, 1))
    return features


def baseline_features(
    lon: FloatVector, lat: FloatVector, legendre_polys: int, *, seed: int = 0
) -> Iterator[tuple[str, FloatMatrix]]:
    """Yield the name and the features, (n, d) float64, of each baseline for one L, an untrained network included.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees.
    legendre_polys : int
        L of the harmonics.
    seed : int
        Seed of the weights of the untrained network.
    """
    yield "lon/lat", np.stack([lon, lat], axis=1)
    yield "xyz", unit_vectors(lon, lat)
    harmonics = _harmonics(lon, lat, legendre_polys)
    yield _harmonics_name(legendre_polys), harmonics.numpy()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        network = Siren(legendre_polys**2, 512, 2, 256).double().eval()
        yield f"untrained SIREN, L = {legendre_polys}", network(harmonics).numpy()


def _harmonics_name(legendre_polys: int) -> str:
    return f"harmonics, L = {legendre_polys}"


def _harmonics(lon: FloatVector, lat: FloatVector, legendre_polys: int) -> Tensor:
    return real_harmonics(torch.from_numpy(lon), torch.from_numpy(lat), legendre_polys).T
