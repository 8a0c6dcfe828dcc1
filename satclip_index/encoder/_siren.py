"""The network of a location encoder, from spherical harmonics to an embedding."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from ..checks import check_whole_number
from ..errors import EncoderError
from .spherical_harmonics import CONVENTIONS, Convention

_MAX_SIZE = 1_000_000  # of any dimension in a file: no network is larger, and no product overflows


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """The hyperparameters of a location encoder, as named in the released checkpoints."""

    legendre_polys: int
    capacity: int
    num_hidden_layers: int
    embed_dim: int
    harmonics_calculation: Convention = "analytic"
    le_type: str = "sphericalharmonics"
    pe_type: str = "siren"

    def check(self, source: str) -> Self:
        """Return self, or raise EncoderError if a value is invalid or not supported."""
        for name, known in (
            ("le_type", ("sphericalharmonics",)),
            ("pe_type", ("siren",)),
            ("harmonics_calculation", CONVENTIONS),
        ):
            if getattr(self, name) not in known:
                raise EncoderError(
                    f"{source}: {name} is {getattr(self, name)!r}; this package supports {' or '.join(known)}."
                )
        for name in ("legendre_polys", "capacity", "num_hidden_layers", "embed_dim"):
            check_whole_number(f"{source}: {name}", getattr(self, name), high=_MAX_SIZE, error=EncoderError)
        return self


class Siren(nn.Module):
    """Sine layers ``sin(w0 (W x + b))`` and one linear layer, as SatCLIP uses them.

    Parameters
    ----------
    dim_in, capacity, num_hidden_layers, embed_dim : int
        Width of the input, width and number of the hidden layers, and width of the output.
    dropout : float
        Dropout rate of hidden pre-activations in training (0.5 in the released code).
    w0_first : float
        Frequency of the first layer; that of the others is 1.

    Notes
    -----
    Sitzmann et al. 2020 (arXiv 2006.09661), section 3.2; initialized as in microsoft/satclip, location_encoder.py:
    U(+-1 / dim_in) in the first layer, U(+-sqrt(6 / dim_in) / w0) in the others, biases in the same range.
    """

    def __init__(
        self,
        dim_in: int,
        capacity: int,
        num_hidden_layers: int,
        embed_dim: int,
        *,
        dropout: float = 0.0,
        w0_first: float = 30.0,
    ) -> None:
        super().__init__()
        widths = [dim_in] + [capacity] * num_hidden_layers
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.last_layer = nn.Linear(capacity, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.w0_first = w0_first
        for layer in (*self.layers, self.last_layer):
            assert isinstance(layer, nn.Linear)
            bound = 1 / dim_in if layer is self.layers[0] else math.sqrt(6 / layer.in_features)
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(layer.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw embedding, (n, embed_dim), of (n, dim_in) harmonics."""
        return self.after_first(self.w0_first * self.dropout(self.layers[0](x)))

    def after_first(self, phase: Tensor) -> Tensor:
        """Return the raw embedding for the arguments of the first sine, (n, capacity)."""
        x = torch.sin(phase)
        for layer in self.layers[1:]:
            x = torch.sin(self.dropout(layer(x)))
        out: Tensor = self.last_layer(x)
        return out
