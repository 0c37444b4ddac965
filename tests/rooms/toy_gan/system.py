"""A GAN on points. Its settings let a test make it heavy (slow to save), slow, or sick."""

from __future__ import annotations

import time
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
    """Settings."""

    width: int = 16  # hidden units
    lr: float = 2e-3  # Adam, both players
    dropout: float = 0.0  # of the discriminator, drawn from torch's own generator
    ballast: int = 0  # million weights that do nothing but take time to save
    pause: float = 0.0  # seconds that a step waits
    nan_at: int = 0  # the step at which the generator's loss is NaN; 0: never
    sick_at: int = 0  # the step at which a finite loss has a gradient that is NaN; 0: never


class ToyGAN(System):
    """Generator and discriminator."""

    def __init__(self, config: Config, data: PointsSpec):
        super().__init__(config, data)
        width = config.width
        self.generator = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2))
        self.discriminator = nn.Sequential(
            nn.Linear(2, width), nn.LeakyReLU(0.2), nn.Dropout(config.dropout), nn.Linear(width, 1)
        )
        self.register_buffer("ballast", torch.zeros(config.ballast, 1_000_000))

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Adam for both."""
        names = ("discriminator", "generator")
        return {name: Adam(self.get_submodule(name).parameters(), self.config.lr, (0.5, 0.99)) for name in names}

    def objective(self, batch: Tensor) -> Iterator[Turn]:
        """The game, and the ways in which a test spoils it."""
        time.sleep(self.config.pause)
        real = self.data.encode(batch)
        fake = self.generator(self.dice.normal(len(real), 2))
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        yield Turn("discriminator", softplus(-on_real).mean() + softplus(on_fake).mean(), {"D(x)": on_real.mean()})
        loss = softplus(-self.discriminator(fake)).mean()
        if self.step + 1 == self.config.nan_at:
            loss = loss * float("nan")
        if self.step + 1 == self.config.sick_at:
            loss = loss + (fake * 0).square().sum().sqrt()
        yield Turn("generator", loss)

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
