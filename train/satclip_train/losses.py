"""The contrastive loss, with hard targets as in the released code, or soft targets from the similarity of images."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
"""Natural logarithm of the initial inverse temperature in CLIP and SatCLIP."""
MAX_LOGIT_SCALE = math.log(100.0)
"""Upper bound, as in CLIP, that keeps the logits in range."""


def soft_targets(features: Tensor, temperature: float) -> Tensor:
    """Return the target probability of each place (column) for each image (row).

    Parameters
    ----------
    features : (n, d) float
        Features of the images; the cosine of two rows is the similarity of two images.
    temperature : float
        0: the target of an image is its own place only, as in the released loss. Above 0: the softmax of the
        similarities over the temperature, so that images that look alike share their places.

    Returns
    -------
    (n, n) float
        Rows sum to 1.
    """
    if temperature == 0:
        return torch.eye(len(features), dtype=features.dtype, device=features.device)
    direction = functional.normalize(features, dim=1)
    return functional.softmax(direction @ direction.T / temperature, dim=1)


def contrastive_loss(places: Tensor, images: Tensor, logit_scale: Tensor, targets: Tensor) -> Tensor:
    """Return the symmetric cross-entropy of place-image similarities against targets.

    Parameters
    ----------
    places, images : (n, d) float
        Embeddings of places and of their images, row by row, of any norm; they are normalized first.
    logit_scale : () float
        Natural logarithm of the inverse temperature of the logits.
    targets : (n, n) float, or (n,) int64
        Probabilities, see :func:`soft_targets`, or the position of each image's place.

    Returns
    -------
    () float

    Notes
    -----
    With the identity as targets, this is the loss of CLIP (Radford et al. 2021, figure 3), which SatCLIP uses.
    """
    scale = logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()
    logits = scale * functional.normalize(places, dim=1) @ functional.normalize(images, dim=1).T
    return (functional.cross_entropy(logits, targets) + functional.cross_entropy(logits.T, targets)) / 2


class ContrastiveHead(nn.Module):
    """Linear layers and the logit scale, which are trained with the encoder and discarded afterwards.

    Parameters
    ----------
    dim_features : int
        Width of the tower's features.
    embed_dim : int
        Width of an embedding.
    dim_position : int
        Width of the functions of position that a linear layer should predict from the embedding; 0 for none.
    """

    def __init__(self, dim_features: int, embed_dim: int, dim_position: int = 0) -> None:
        super().__init__()
        self.image = nn.Linear(dim_features, embed_dim)
        self.looks = nn.Linear(embed_dim, dim_features)
        self.position = nn.Linear(embed_dim, dim_position) if dim_position else None
        self.logit_scale = nn.Parameter(torch.tensor(INITIAL_LOGIT_SCALE))
        self.spread = embed_dim**0.5  # scales the components of a unit vector to a variance of about 1

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
        """Return the loss of a batch: the contrastive loss plus the errors of linear readouts of the embedding.

        Parameters
        ----------
        places : (n, embed_dim) float
            Raw embeddings.
        features : (n, dim_features) float
            Features of the tower for the same places.
        position : (n, dim_position) float
            Smooth functions of position.
        temperature : float
            See :func:`soft_targets`.
        looks_weight, position_weight : float
            Weights of the squared errors of linear predictions of ``features`` and of ``position`` from the normalized
            embedding, each relative to the mean square of what is predicted; 0 omits the term.
        """
        targets = soft_targets(features, temperature)
        loss = contrastive_loss(places, self.image(features), self.logit_scale, targets)
        unit = functional.normalize(places, dim=1) * self.spread
        if looks_weight > 0:
            loss = loss + looks_weight * _relative_error(self.looks(unit), features)
        if position_weight > 0 and self.position is not None:
            loss = loss + position_weight * _relative_error(self.position(unit), position)
        return loss


def _relative_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error against a target scaled to a mean square of 1, the error of predicting 0."""
    return functional.mse_loss(predicted, target / target.square().mean().sqrt())
