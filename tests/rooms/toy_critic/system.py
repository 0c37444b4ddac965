"""WGAN with a gradient penalty on points: the generator moves in every fifth step only (Gulrajani et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from handmade.artifacts import Points
from handmade.core import Range, Schedule, Score, System, Turn, ask, seeded
from handmade.data.specs import PointsSpec


@dataclass(frozen=True)
class Config:
    """Settings."""

    width: int = 16  # hidden units
    lr: float = 5e-3  # Adam, both players
    penalty: float = 1.0  # weight of the gradient penalty


class ToyCritic(System):
    """Generator and critic."""

    def __init__(self, config: Config, data: PointsSpec):
        super().__init__(config, data)
        width = config.width
        self.generator = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))
        self.critic = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 1))

    def optimizers(self) -> Mapping[str, Optimizer | tuple[Optimizer, Schedule]]:
        """Adam for both; the critic's rate falls to a half over the run."""
        return {
            "critic": (Adam(self.critic.parameters(), self.config.lr, (0.0, 0.9)), lambda progress: 1 - progress / 2),
            "generator": Adam(self.generator.parameters(), self.config.lr, (0.0, 0.9)),
        }

    def objective(self, batch: Tensor) -> Iterator[Turn]:
        """The critic moves in every step."""
        real = self.data.encode(batch)
        fake = self.generator(self.dice.normal(len(real), 2))
        mix = torch.lerp(real, fake.detach(), self.dice.uniform(len(real), 1)).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(mix).sum(), mix, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        gap = self.critic(fake.detach()).mean() - self.critic(real).mean()
        yield Turn("critic", gap + self.config.penalty * penalty, {"gap": gap})
        if self.step % 5 == 4:
            yield Turn("generator", -self.critic(fake).mean())

    def evaluate(self, held_out: Tensor, judge: object = None) -> Mapping[str, Score]:
        """Energy distance to held-out points."""
        real, other = self.data.encode(held_out).chunk(2)
        fake = self.generator(torch.randn(len(real), 2, generator=seeded(0)).to(real.device))
        return {"distance": Score(_energy(fake, real), "energy distance", "lower", _energy(other, real))}

    @ask
    def generate(self, n: Annotated[int, Range(1, 1000)] = 32, seed: int = 0) -> Points:
        """Draw new points.

        n: how many points
        seed: which points
        """
        z = torch.randn(n, 2, generator=seeded(seed)).to(next(self.parameters()).device)
        points = self.generator(z)
        return Points(self.data.decode(points), self.data.formula, self.data.low, self.data.high)


def _energy(a: Tensor, b: Tensor) -> float:
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())
