"""The features that compete: embeddings, and what an embedding must beat."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from satclip_index.encoder.location_encoder import Encoder
from satclip_index.encoder.spherical_harmonics import real_harmonics
from satclip_index.geo.sphere import unit_vectors

FloatMatrix = NDArray[np.float64]


def contenders(
    lon: NDArray[np.float64], lat: NDArray[np.float64], encoders: Iterable[Encoder]
) -> dict[str, FloatMatrix]:
    """Return the features of each encoder and of each baseline, by name.

    Parameters
    ----------
    lon, lat : (n,) float64
        Degrees; lon in [-180, 180].
    encoders : iterable of Encoder
        Two of one name are told apart by a number.

    Returns
    -------
    dict of (n, d) float64
        Each encoder's raw embedding in the order given; then for each L among them the harmonics that its network is
        fed, untrained; then ``xyz`` on the unit sphere, ``lon/lat`` in degrees, and ``no information``, a constant.
    """
    given = list(encoders)
    features: dict[str, FloatMatrix] = {}
    for encoder in given:
        name, number = encoder.name, 1
        while name in features:
            number += 1
            name = f"{encoder.name} ({number})"
        features[name] = encoder.encode(lon, lat).astype(np.float64)
    points = torch.from_numpy(lon), torch.from_numpy(lat)
    for legendre_polys in sorted({encoder.hyperparameters.legendre_polys for encoder in given}, reverse=True):
        features[f"harmonics, L = {legendre_polys}"] = real_harmonics(*points, legendre_polys).T.contiguous().numpy()
    features["xyz"] = unit_vectors(lon, lat)
    features["lon/lat"] = np.stack([lon, lat], axis=1)
    features["no information"] = np.zeros((lon.size, 1))
    return features
