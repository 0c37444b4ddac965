"""The least-squares game: scores instead of logits, 1 for what is real and 0 for what is made.

Mao et al. 2016 (arXiv 1611.04076), equation 9 with a = 0 and b = c = 1. A sigmoid before these losses would flatten the
very slopes that they are chosen for.
"""

from __future__ import annotations

from torch import Tensor


def least_squares_critic(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """(E[(D(x) - 1)^2] + E[D(G(z))^2]) / 2, a float32 scalar; scores of any shape."""
    return ((on_real.float() - 1).square().mean() + on_fake.float().square().mean()) / 2


def least_squares_generator(on_fake: Tensor) -> Tensor:
    """E[(D(G(z)) - 1)^2], a float32 scalar; scores of any shape."""
    return (on_fake.float() - 1).square().mean()
