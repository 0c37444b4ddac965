"""Normal noise that belongs to pictures: each is drawn from its own numbers, whatever is drawn beside it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from handmade.core import seeded

APART = 1_000_003  # between the generators of one seed and of the next


class Noise:
    """One stream of normal numbers per picture: picture i of a seed is the same in a batch of one and of a hundred."""

    def __init__(self, seed: int, pictures: Iterable[int]):
        self.generators = [seeded(seed * APART + index) for index in pictures]

    def draw(self, *shape: int) -> Tensor:
        """The next numbers of every stream, (n, *shape)."""
        return torch.stack([torch.randn(shape, generator=generator) for generator in self.generators])
