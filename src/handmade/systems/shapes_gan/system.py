"""Curves from noise: a generator puts points on a curve it never sees. Goodfellow et al. 2014 (arXiv 1406.2661).

Objective, the non-saturating game, with the R1 penalty of Mescheder et al. 2018 (arXiv 1801.04406) on real points:
    discriminator minimises  E[softplus(-D(x))] + E[softplus(D(G(z)))] + gamma / 2 E[|grad D(x)|^2]
    generator     minimises  E[softplus(-D(G(z)))]
Differing from the 2014 paper: the R1 penalty, for a game that comes to rest on the curve and does not circle;
Adam without momentum (median error 0.088 against 0.144 with it) and a falling learning rate; a noise z of one number,
since a curve is one bent line (0.020 against 0.051 with four numbers). All measurements: this room's README.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from handmade.artifacts import Points
from handmade.core import Range, Score, System, Turn, ask, seeded
from handmade.data.formula import Formula
from handmade.data.specs import PointsSpec
from handmade.metrics.points import coverage, curve_error, wasserstein
from handmade.objectives.adversarial import non_saturating_discriminator, non_saturating_generator, r1_penalty

DRAWN = 10_000  # points for the scores that need no held-out partner
CUTS = 8  # of the held-out points into halves: one cut alone is a matter of luck
DIRECTIONS = 16  # from which two clouds of points are compared


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of the game."""

    latent: int = 1  # length of the noise vector z
    width: int = 128  # units in each of the two hidden layers, both players
    gamma: float = 0.005  # weight of the R1 penalty
    lr: float = 2e-3  # Adam, both players
    beta1: float = 0.0  # momentum: 0 (Mescheder et al. 2018); 0.5 is worse here


def perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """(B, inputs) -> (B, outputs), two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LeakyReLU(0.2),
        nn.Linear(width, width), nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )  # fmt: skip


class ShapesGAN(System):
    """A generator that bends a line of noise into a curve, and the discriminator that teaches it."""

    def __init__(self, config: Config, data: PointsSpec):
        super().__init__(config, data)
        self.generator = perceptron(config.latent, config.width, 2)
        self.discriminator = perceptron(2, config.width, 1)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Adam for both players."""
        betas = (self.config.beta1, 0.99)
        return {
            "discriminator": Adam(self.discriminator.parameters(), self.config.lr, betas),
            "generator": Adam(self.generator.parameters(), self.config.lr, betas),
        }

    def objective(self, points: Tensor) -> Iterator[Turn]:
        """The judge learns to tell drawn points from real ones, then the forger learns to please the judge."""
        real = self.data.encode(points).requires_grad_()  # (B, 2) in [-1, 1]
        fake = self.generator(self.dice.uniform(len(real), self.config.latent) * 2 - 1)  # (B, 2)
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())  # (B, 1) logits
        penalty = self.config.gamma * r1_penalty(on_real, real)
        beliefs = {"D(x)": on_real.detach().sigmoid().mean(), "D(G(z))": on_fake.detach().sigmoid().mean()}
        yield Turn("discriminator", non_saturating_discriminator(on_real, on_fake) + penalty, beliefs)
        yield Turn("generator", non_saturating_generator(self.discriminator(fake)))  # judged by the D just updated

    def evaluate(self, held_out: Tensor, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Compare drawn points with the held-out ones, and with the formula that training never sees."""
        distance, floor = self._distances(self.data.encode(held_out.cpu()))
        many, held = self._draw(DRAWN, seed=0).cpu(), held_out.cpu()
        error = curve_error(many, Formula(self.data.formula))
        outside = float((self._codes(DRAWN, seed=0)[:, 0].abs() > 1).float().mean())
        apart = f"earth mover's distance of {len(held_out) // 2} drawn and as many held-out points; the plot is 2 wide"
        return {
            "distance": Score(distance, apart, "lower", floor),
            "error": Score(error, f"median |y - f(x)| of {DRAWN} drawn points, in the unit of y", "lower", 0.0),
            "coverage": Score(coverage(many[:, 0], held[:, 0]), "share of the range of x that is drawn", "higher", 1.0),
            "outside": Score(outside, "share of points outside the range of x before clipping", "lower", 0.0),
        }

    @ask
    def generate(self, n: Annotated[int, Range(1, 100_000)] = 512, seed: int = 0) -> Points:
        """Draw new points; the same seed always gives the same ones.

        n: how many points
        seed: which points; a larger n continues the same series
        """
        return Points(self._draw(n, seed).cpu(), self.data.formula, self.data.low, self.data.high, self._curve())

    def _codes(self, n: int, seed: int) -> Tensor:
        """(n, 2) points as the generator gives them; few lie a little outside [-1, 1]."""
        z = torch.rand(n, self.config.latent, generator=seeded(seed)) * 2 - 1
        return self.generator(z.to(next(self.generator.parameters())))

    def _draw(self, n: int, seed: int) -> Tensor:
        """(n, 2) points in the curve's units, clipped to the plot as pictures are clipped to 0..255."""
        return self.data.decode(self._codes(n, seed).clamp(-1, 1))

    def _distances(self, real: Tensor) -> tuple[float, float]:
        """(N, 2) held-out codes -> how far one half is from drawn points, and from the other half; mean over cuts."""
        half, pairs = len(real) // 2, []
        for cut in range(CUTS):
            mixed = real[torch.randperm(len(real), generator=seeded(cut))]
            drawn = self.data.encode(self._draw(half, seed=cut).cpu())
            pairs.append([sliced_distance(cloud, mixed[half : 2 * half]) for cloud in (drawn, mixed[:half])])
        value, floor = torch.tensor(pairs).mean(0).tolist()
        return value, floor

    def _curve(self) -> Tensor:
        """(201, 2) points of the true curve."""
        x = torch.linspace(self.data.low[0], self.data.high[0], 201)
        return torch.stack([x, Formula(self.data.formula)(x)], dim=1)


def sliced_distance(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-1 distance of two clouds (N, 2) and (M, 2): the mean over directions (Rabin et al. 2011).

    It sees what a median error cannot: a generator that puts all its points on one place of the curve is far away.
    """
    angles = torch.arange(DIRECTIONS) * (torch.pi / DIRECTIONS)
    rays = torch.stack([angles.cos(), angles.sin()]).to(a)  # (2, DIRECTIONS)
    return sum(wasserstein(x, y) for x, y in zip((a @ rays).T, (b @ rays).T, strict=True)) / DIRECTIONS
