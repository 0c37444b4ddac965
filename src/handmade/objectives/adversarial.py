"""Losses of the game between a generator and a discriminator: one equation per function, each a float32 scalar.

D gives logits: sigmoid(D(x)) is the believed probability that x is real, and softplus(-D(x)) = -log sigmoid(D(x)).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus


def non_saturating_discriminator(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """E[softplus(-D(x))] + E[softplus(D(G(z)))]: the cross-entropy of telling real from fake, in nats.

    on_real, on_fake: logits of any shape. Goodfellow et al. 2014 (arXiv 1406.2661), equation 1.
    """
    return softplus(-on_real.float()).mean() + softplus(on_fake.float()).mean()


def non_saturating_generator(on_fake: Tensor) -> Tensor:
    """E[softplus(-D(G(z)))]: -log of the belief that fakes are real, whose gradient stays large while fakes are bad.

    on_fake: logits of any shape. Goodfellow et al. 2014 (arXiv 1406.2661), section 3.
    """
    return softplus(-on_fake.float()).mean()


def r1_penalty(on_real: Tensor, real: Tensor) -> Tensor:
    """E[|grad D(x)|^2] / 2 on real data: D may not be steep where the data lie, so the game can come to rest there.

    on_real: logits (B, ...) made from `real`. Where one item's logits also hear the others, as with BatchNorm, what is taken is
        the gradient of the sum of all logits with respect to each item: near to that of its own logit, not the same
    real: (B, ...) with `requires_grad`
    Mescheder et al. 2018 (arXiv 1801.04406), equation 9; multiply by gamma.
    """
    (slope,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)  # (B, ...)
    return slope.float().square().flatten(1).sum(1).mean() / 2


def wasserstein_critic(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """E[D(G(z))] - E[D(x)]: minus the largest gap that a critic of slope 1 can open, an estimate of the distance.

    on_real, on_fake: scores of any shape, no logits. Arjovsky et al. 2017 (arXiv 1701.07875), equation 2.
    """
    return on_fake.float().mean() - on_real.float().mean()


def wasserstein_generator(on_fake: Tensor) -> Tensor:
    """-E[D(G(z))]: what the generator can do about the distance.

    on_fake: scores of any shape. Arjovsky et al. 2017 (arXiv 1701.07875), algorithm 1.
    """
    return -on_fake.float().mean()


def gradient_penalty(on_mixed: Tensor, mixed: Tensor) -> Tensor:
    """E[(|grad D(m)| - 1)^2] on mixtures m of real and fake items: the best critic has slope 1 between the two.

    on_mixed: scores (B, ...) made from `mixed`, one item's scores from that item alone
    mixed: (B, ...) with `requires_grad`
    Gulrajani et al. 2017 (arXiv 1704.00028), equation 3; multiply by lambda.
    """
    (slope,) = torch.autograd.grad(on_mixed.sum(), mixed, create_graph=True)  # (B, ...)
    return (slope.float().flatten(1).norm(dim=1) - 1).square().mean()
