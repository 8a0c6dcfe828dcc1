"""The contrastive loss, with targets as hard as the released one's or as soft as the images are alike."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
"""Natural logarithm of the first inverse temperature; CLIP's and SatCLIP's."""
MAX_LOGIT_SCALE = math.log(100.0)
"""Where CLIP clips it, so that the logits stay in range."""


def soft_targets(similarity: Tensor, temperature: float) -> Tensor:
    """Return what share of each row's attention every column deserves.

    Parameters
    ----------
    similarity : (n, n) float
        Of image i and image j, in [-1, 1].
    temperature : float
        0: each image deserves only its own place, as in the released loss. Higher: places that look alike share.

    Returns
    -------
    (n, n) float
        Rows sum to 1.
    """
    if temperature == 0:
        return torch.eye(len(similarity), dtype=similarity.dtype, device=similarity.device)
    return functional.softmax(similarity / temperature, dim=1)


def contrastive_loss(places: Tensor, images: Tensor, logit_scale: Tensor, targets: Tensor) -> Tensor:
    """Return the symmetric cross-entropy of place-image similarities against targets.

    Parameters
    ----------
    places, images : (n, d) float
        Embeddings of places and of their images, row by row; any length, only directions count.
    logit_scale : () float
        Natural logarithm of the inverse temperature of the logits.
    targets : (n, n) float
        As :func:`soft_targets` gives them; symmetric up to normalisation, since the similarity is.

    Returns
    -------
    () float

    Notes
    -----
    With the identity as targets this is the loss of CLIP (Radford et al. 2021, figure 3), which SatCLIP uses.
    """
    scale = logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
    logits = scale * functional.normalize(places, dim=1) @ functional.normalize(images, dim=1).T
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2


class ContrastiveHead(nn.Module):
    """What trains beside the encoder and is thrown away: linear maps, and the logit scale.

    Parameters
    ----------
    dim_features : int
        Width of the tower's features.
    embed_dim : int
        Width of an embedding.
    dim_position : int
        Width of the smooth functions of position that should stay readable; 0 for none.
    """

    def __init__(self, dim_features: int, embed_dim: int, dim_position: int = 0) -> None:
        super().__init__()
        self.image = nn.Linear(dim_features, embed_dim)
        self.looks = nn.Linear(embed_dim, dim_features)
        self.position = nn.Linear(embed_dim, dim_position) if dim_position else None
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))
        self.spread = embed_dim**0.5  # gives the coordinates of a unit vector a variance of about 1

    def forward(
        self,
        places: Tensor,
        features: Tensor,
        position: Tensor,
        *,
        temperature: float,
        looks_weight: float,
        position_weight: float,
    ) -> Tensor:
        """Return the loss of a batch: contrastive, plus what a linear readout of the embedding misses.

        Parameters
        ----------
        places : (n, embed_dim) float
            Raw embeddings.
        features : (n, dim_features) float
            Of the tower, for the same places.
        position : (n, dim_position) float
            Smooth functions of position: low-degree harmonics.
        temperature : float
            See :func:`soft_targets`.
        looks_weight, position_weight : float
            Weight of the squared error of a linear prediction of features, and of position, from the embedding's
            direction, as a share of their variance; 0 leaves it out.
        """
        direction = functional.normalize(features, dim=1)
        targets = soft_targets(direction @ direction.T, temperature)
        loss = contrastive_loss(places, self.image(features), self.logit_scale, targets)
        unit = functional.normalize(places, dim=1) * self.spread
        if looks_weight > 0:
            loss = loss + looks_weight * _missed_share(self.looks(unit), features)
        if position_weight > 0 and self.position is not None:
            loss = loss + position_weight * _missed_share(self.position(unit), position)
        return loss


def _missed_share(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the squared error against a target brought to a mean square of 1, where an untrained readout starts."""
    return functional.mse_loss(predicted, target / target.square().mean().sqrt())
