"""A room of your own: say here in one sentence what it is, and from which paper.

Objective: write it as an equation, in the names that the code uses.
    generator minimises      E[softplus(-D(G(z)))]
    discriminator minimises  E[softplus(-D(x))] + E[softplus(D(G(z)))]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam, Optimizer

from handmade.artifacts import Points
from handmade.core import Range, Score, System, Turn, ask, seeded
from handmade.data.specs import PointsSpec


@dataclass(frozen=True)
class Config:
    """Settings, one a line; the comment is the help text."""

    width: int = 64  # units of the hidden layers
    latent: int = 4  # length of the noise vector z
    lr: float = 1e-3  # Adam, both players


class Room(System):
    """The networks, the game, and what can be asked."""

    def __init__(self, config: Config, data: PointsSpec):
        super().__init__(config, data)
        self.generator = _network(config.latent, config.width, 2)
        self.discriminator = _network(2, config.width, 1)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """One optimizer for each player; the keys are the players' names."""
        return {name: Adam(self.get_submodule(name).parameters(), self.config.lr, (0.5, 0.99))
                for name in ("discriminator", "generator")}  # fmt: skip

    def objective(self, batch: Tensor) -> Iterator[Turn]:
        """`yield Turn(player, loss)` means: my turn is over, update me."""
        real = batch  # (B, 2) in [-1, 1]
        fake = self.generator(self.dice.normal(len(real), self.config.latent))
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        yield Turn("discriminator", softplus(-on_real).mean() + softplus(on_fake).mean())
        yield Turn("generator", softplus(-self.discriminator(fake)).mean())

    def evaluate(self, held_out: Tensor, judge: object = None) -> Mapping[str, Score]:
        """A number on held-out data, with its floor: the first one is the yardstick."""
        real, other = held_out.chunk(2)
        fake = self.generator(torch.randn(len(real), self.config.latent, generator=seeded(0)).to(real.device))
        about = f"energy distance between {len(real)} drawn and held-out points"
        return {"distance": Score(_energy(fake, real), about, "lower", _energy(other, real))}

    @ask
    def generate(self, n: Annotated[int, Range(1, 100_000)] = 512, seed: int = 0) -> Points:
        """Draw new points; the same seed always gives the same points.

        n: how many points
        seed: which points
        """
        z = torch.randn(n, self.config.latent, generator=seeded(seed))
        points = self.generator(z.to(next(self.parameters()).device)).cpu()
        return Points(self.data.decode(points), self.data.formula, self.data.low, self.data.high)


def _network(inner: int, width: int, outer: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inner, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2),
                         nn.Linear(width, outer))  # fmt: skip


def _energy(a: Tensor, b: Tensor) -> float:
    """Energy distance between two clouds, (N, D) and (M, D) (Szekely & Rizzo 2013): 0 only for equal distributions."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())
