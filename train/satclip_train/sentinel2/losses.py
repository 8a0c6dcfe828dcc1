"""The losses of a batch of places and images: as released, with soft targets, or pairwise."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..losses import INITIAL_LOGIT_SCALE, contrastive_loss, soft_targets

SIGLIP_LOGIT_SCALE = math.log(10.0)
SIGLIP_LOGIT_BIAS = -10.0
"""Initial values of SigLIP (Zhai et al. 2023, section 3)."""


def initial_logit_scale(loss: str) -> float:
    """Return the initial natural logarithm of the inverse temperature."""
    return SIGLIP_LOGIT_SCALE if loss == "siglip" else INITIAL_LOGIT_SCALE


def siglip_loss(places: Tensor, images: Tensor, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
    """Return the pairwise sigmoid loss: a binary classification of each place-image pair as matching or not.

    Parameters
    ----------
    places, images : (n, d) float
        Embeddings, row by row; they are normalized first.
    logit_scale, logit_bias : () float
        Natural logarithm of the inverse temperature, and the bias added to every logit.

    Returns
    -------
    () float
        Summed over pairs, divided by n.

    Notes
    -----
    Zhai et al. 2023 (arXiv 2303.15343), algorithm 1.
    """
    logits = logit_scale.exp() * functional.normalize(places, dim=1) @ functional.normalize(images, dim=1).T
    sign = 2 * torch.eye(len(places), dtype=logits.dtype, device=logits.device) - 1
    return -functional.logsigmoid(sign * (logits + logit_bias)).sum() / len(places)


def batch_loss(
    kind: str,
    places: Tensor,
    images: Tensor,
    features: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor | None = None,
    *,
    temperature: float = 0.1,
) -> Tensor:
    """Return the loss of a whole batch, in float32 or better.

    Parameters
    ----------
    kind : {"clip", "soft", "siglip"}
        ``clip`` is the released loss; with ``soft``, images that look alike share their places.
    places, images : (n, d) float
        Embeddings, row by row.
    features : (n, dim_features) float
        Features of the frozen trunk; only used by ``soft``.
    logit_scale, logit_bias : () float
        Learned by the loss; the bias is only used by ``siglip``.
    temperature : float
        See :func:`satclip_train.losses.soft_targets`.
    """
    if places.dtype != torch.float64:
        places, images, features = places.float(), images.float(), features.float()
    if kind == "siglip":
        assert logit_bias is not None
        return siglip_loss(places, images, logit_scale, logit_bias)
    if kind == "soft":
        targets = soft_targets(features, temperature).to(places.dtype)
    else:
        targets = torch.arange(len(places), device=places.device)
    return contrastive_loss(places, images, logit_scale, targets)
