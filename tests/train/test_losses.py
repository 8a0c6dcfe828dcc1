import math

import pytest
import torch

from satclip_train.losses import INITIAL_LOGIT_SCALE, ContrastiveHead, contrastive_loss, soft_targets


def pair(n=12, d=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2))


def test_temperature_zero_is_the_cross_entropy_of_clip():
    places, images = pair()
    places.requires_grad_(True)
    scale = torch.tensor(INITIAL_LOGIT_SCALE, dtype=torch.float64)
    loss = contrastive_loss(places, images, scale, soft_targets(torch.eye(12, dtype=torch.float64), 0))
    # independently: every probability written out
    total = 0.0
    cosine = torch.nn.functional.cosine_similarity(places[:, None], images[None], dim=2) / 0.07
    for i in range(12):
        total -= cosine[i, i] - cosine[i].exp().sum().log()
        total -= cosine[i, i] - cosine[:, i].exp().sum().log()
    assert loss.item() == pytest.approx(total.item() / 24, rel=1e-9)


def test_the_loss_and_its_gradient_are_symmetric_in_places_and_images():
    a, b = pair()
    targets = soft_targets(b, 0)
    scale = torch.tensor(1.0, dtype=torch.float64)
    gradients = []
    for first, second in ((a, b), (b, a)):
        first, second = first.clone().requires_grad_(), second.clone().requires_grad_()
        contrastive_loss(first, second, scale, targets).backward()
        gradients.append((first.grad, second.grad))
    torch.testing.assert_close(gradients[0][0], gradients[1][1])
    torch.testing.assert_close(gradients[0][1], gradients[1][0])


def test_only_directions_count():
    places, images = pair()
    scale, targets = torch.tensor(2.0, dtype=torch.float64), torch.eye(12, dtype=torch.float64)
    torch.testing.assert_close(
        contrastive_loss(places, images, scale, targets), contrastive_loss(5 * places, 0.1 * images, scale, targets)
    )


def test_soft_targets_share_among_twins_and_sharpen_as_the_temperature_falls():
    features = torch.tensor([[2.0], [3.0], [-1.0]])
    warm, cold = soft_targets(features, 1.0), soft_targets(features, 0.05)
    torch.testing.assert_close(warm.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(cold, torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]), atol=1e-6, rtol=0)
    assert warm[0, 2] == pytest.approx(math.exp(-1) / (2 * math.e + math.exp(-1)))


def test_readouts_add_what_they_miss_and_reach_the_embedding():
    torch.manual_seed(0)
    places, features, position = torch.randn(20, 6, requires_grad=True), torch.randn(20, 9), torch.randn(20, 4)
    head = ContrastiveHead(9, 6, 4)
    losses = [
        head(places, features, position, temperature=0.1, looks_weight=looks, position_weight=where)
        for looks, where in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]
    assert losses[3].item() - losses[0].item() == pytest.approx(
        losses[1].item() + losses[2].item() - 2 * losses[0].item(), rel=1e-4
    )
    unit = torch.nn.functional.normalize(places, dim=1) * 6**0.5
    missed = (head.looks(unit) - features / features.square().mean().sqrt()).square().mean()
    assert (losses[1] - losses[0]).item() == pytest.approx(missed.item(), rel=1e-4)
