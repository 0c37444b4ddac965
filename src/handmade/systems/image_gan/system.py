"""Image GAN: a forger and a judge that see a picture as one row of numbers. Goodfellow et al. 2014 (arXiv 1406.2661).

Objective, the non-saturating game of section 3, with the price on a steep judge of Mescheder et al. 2018 (arXiv
1801.04406):
    discriminator minimises  E[softplus(-D(x))] + E[softplus(D(G(z)))] + r1 E[|grad D(x)|^2] / 2
    generator     minimises  E[softplus(-D(G(z)))]
The layers are as wide as in the networks that introductions to GANs begin with: 256, 512, 1024 units up to the picture
and 1024, 512, 256 down from it. Differing from those: the generator has batch normalisation, without which it draws few
kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from handmade.artifacts import Images
from handmade.core import Range, Score, System, Turn, ask
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.metrics.drawn import score_drawn
from handmade.objectives.adversarial import non_saturating_discriminator, non_saturating_generator, r1_penalty
from handmade.samplers.latents import first_latents, latents, square, walk


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of the game."""

    latent: int = 100  # length of the noise vector z
    width: int = 1024  # units of the layer next to the pixels; halved and quartered further in
    dropout: float = 0.3  # share of units that the discriminator does without while it learns
    lr: float = 2e-4  # Adam, both players
    beta1: float = 0.5  # 0.9 makes the game oscillate (Radford et al. 2015, section 4)
    r1: float = 1.0  # weight of the gradient penalty on real pictures


def generator(config: Config, data: ImageSpec) -> nn.Sequential:
    """(B, latent) noise -> (B, C, H, H) pixels in [-1, 1]."""
    shape = (data.channels, data.size, data.size)
    widths = [config.latent, config.width // 4, config.width // 2, config.width]
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.BatchNorm1d(outer), nn.LeakyReLU(0.2, True)]
    pixels = nn.Linear(config.width, data.channels * data.size**2)
    return nn.Sequential(*layers, pixels, nn.Tanh(), nn.Unflatten(1, shape))  # (B, C * H * H) -> (B, C, H, H)


def discriminator(config: Config, data: ImageSpec) -> nn.Sequential:
    """(B, C, H, H) pixels -> (B, 1) logit that the picture is real."""
    widths = [data.channels * data.size**2, config.width, config.width // 2, config.width // 4]
    layers: list[nn.Module] = [nn.Flatten()]
    for outer, inner in pairwise(widths):
        layers += [nn.Linear(outer, inner), nn.LeakyReLU(0.2, True), nn.Dropout(config.dropout)]
    return nn.Sequential(*layers, nn.Linear(config.width // 4, 1))


class ImageGAN(System):
    """A generator that draws pictures from noise, and the discriminator that teaches it; no pixel has neighbours."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        self.generator = generator(config, data)
        self.discriminator = discriminator(config, data)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Adam for both players."""
        betas = (self.config.beta1, 0.99)
        return {
            "discriminator": Adam(self.discriminator.parameters(), self.config.lr, betas),
            "generator": Adam(self.generator.parameters(), self.config.lr, betas),
        }

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """The judge learns to tell drawn from real, then the forger learns to please the judge."""
        real = batch.pixels.detach().requires_grad_(self.config.r1 > 0)  # (B, C, H, H)
        fake = self.generator(self.dice.normal(len(real), self.config.latent))
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        beliefs = {"D(x)": on_real.detach().sigmoid().mean(), "D(G(z))": on_fake.detach().sigmoid().mean()}
        loss = non_saturating_discriminator(on_real, on_fake)
        if self.config.r1:
            loss = loss + self.config.r1 * r1_penalty(on_real, real)
        yield Turn("discriminator", loss, beliefs)
        yield Turn("generator", non_saturating_generator(self.discriminator(fake)))  # judged by the D just updated

    def evaluate(self, held_out: ImageBatch, judge: Callable[[Tensor], Tensor] | None = None) -> Mapping[str, Score]:
        """Draw as many pictures as were held out and compare the two sets; the kernel distance is the yardstick."""
        drawn = self._draw(latents(len(held_out.pixels), self.config.latent, seed=0))
        return score_drawn(held_out.pixels, drawn, judge)

    @ask
    def generate(self, n: Annotated[int, Range(1, 10_000)] = 64, seed: int = 0) -> Images:
        """Draw new pictures; the same seed always gives the same ones.

        n: how many pictures
        seed: which pictures; a larger n continues the same series
        """
        return Images(self._draw(latents(n, self.config.latent, seed)))

    @ask
    def walk(self, seeds: str = "0,1,2,3", steps: Annotated[int, Range(1, 100)] = 6) -> Images:
        """Walk through the latent space from picture to picture; seed s is the first picture of `generate --seed s`.

        seeds: the pictures to visit, separated by commas
        steps: strides from each picture to the next
        """
        stops = first_latents(seeds, self.config.latent)
        return Images(self._draw(walk(stops, steps)), columns=steps * (len(stops) - 1) + 1)

    @ask
    def grid(self, seeds: str = "0,1,2,3", side: Annotated[int, Range(2, 32)] = 8) -> Images:
        """Fill a square with everything between four pictures, which stand in its corners.

        seeds: the four corners, separated by commas
        side: pictures along each side
        """
        corners = first_latents(seeds, self.config.latent)
        if len(corners) != 4:
            raise UserError(f'a grid has four corners, not {len(corners)}: give four seeds, such as "0,1,2,3"')
        return Images(self._draw(square(corners, side)), columns=side)

    def _draw(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, C, H, H) in [-1, 1], a hundred at a time."""
        z = z.to(next(self.generator.parameters()).device)
        return torch.cat([self.generator(part) for part in z.split(100)])
