"""DCGAN: a forger and a judge, both convolutional. Radford, Metz, Chintala 2015 (arXiv 1511.06434).

Objective, the non-saturating game of Goodfellow et al. 2014 (section 3), D giving logits:
    discriminator minimises  E[softplus(-D(x))] + E[softplus(D(G(z)))] + (r1 / 2) E[|grad D(x)|^2]
    generator     minimises  E[softplus(-D(G(z)))]
The two networks are the paper's, and so is the game: the players take turns. The last term is not: a price on a judge that is
steep at real pictures (Mescheder et al. 2018, arXiv 1801.04406), paid at every r1_every-th step, and then so many times.
`at_once` lets both move from one judgement of what was drawn (Goodfellow 2016, arXiv 1701.00160, section 3.2), which saves one
forward pass of the discriminator in three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

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
    width: int = 64  # channels of the layer next to the pixels; doubled at every halving
    lr: float = 2e-4  # Adam, both players (paper, section 4)
    beta1: float = 0.5  # 0.9 makes the game oscillate (paper, section 4); players who move at once need 0
    at_once: bool = False  # both players move from one judgement: 6 % more steps in a minute, but a later start
    norm: Literal["batch", "none"] = "batch"  # of the discriminator: the paper's BatchNorm, or none, which needs r1
    r1: float = 0.0  # weight of the gradient penalty on real pictures; 0: none, as in the paper
    r1_every: int = 16  # steps from one penalty to the next; each counts that many times


def generator(latent: int, width: int, data: ImageSpec) -> nn.Sequential:
    """(B, latent, 1, 1) noise -> (B, C, H, H) pixels in [-1, 1]."""
    sizes = [width * 2**i for i in range(data.size.bit_length() - 3)][::-1]  # 64 px: 512, 256, 128, 64
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, sizes[0], 4, bias=False)]  # 1 -> 4 px
    layers += [nn.BatchNorm2d(sizes[0]), nn.ReLU(True)]
    for inner, outer in pairwise(sizes):  # doubles the picture each time
        layers += [nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(sizes[-1], data.channels, 4, 2, 1, bias=False), nn.Tanh())


def discriminator(width: int, norm: str, data: ImageSpec) -> nn.Sequential:
    """(B, C, H, H) pixels -> (B, 1) logit that the picture is real."""
    sizes = [width * 2**i for i in range(data.size.bit_length() - 3)]  # 64 px: 64, 128, 256, 512
    layers: list[nn.Module] = [nn.Conv2d(data.channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for outer, inner in pairwise(sizes):  # halves the picture each time
        layers += [nn.Conv2d(outer, inner, 4, 2, 1, bias=False)]
        layers += [*([nn.BatchNorm2d(inner)] if norm == "batch" else []), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(sizes[-1], 1, 4, bias=False), nn.Flatten())  # 4 px -> 1 logit


def initialise(layer: nn.Module) -> None:
    """Draw a layer's weights as the paper does: N(0, 0.02), scales of BatchNorm N(1, 0.02) (section 4)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


class DCGAN(System):
    """A generator that draws pictures from noise, and the discriminator that teaches it."""

    def __init__(self, config: Config, data: ImageSpec):
        super().__init__(config, data)
        if data.size not in (8, 16, 32, 64, 128, 256):
            raise UserError(f"dcgan cannot draw {data.size} px: use 8, 16, 32, 64, 128 or 256 (set data.size)")
        self.generator = generator(config.latent, config.width, data).apply(initialise)
        self.discriminator = discriminator(config.width, config.norm, data).apply(initialise)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Adam for both players."""
        betas = (self.config.beta1, 0.999)
        return {
            "discriminator": Adam(self.discriminator.parameters(), self.config.lr, betas),
            "generator": Adam(self.generator.parameters(), self.config.lr, betas),
        }

    def objective(self, batch: ImageBatch) -> Iterator[Turn | tuple[Turn, Turn]]:
        """The judge learns to tell drawn from real, then the forger learns to please it; or both do at once."""
        penalised = self.config.r1 > 0 and self.step % self.config.r1_every == 0
        real = batch.pixels.detach().requires_grad_(penalised)  # (B, C, H, H)
        fake = self.generator(self.dice.normal(len(real), self.config.latent, 1, 1))
        on_real, on_fake = self.discriminator(real), self.discriminator(fake if self.config.at_once else fake.detach())
        beliefs = {"D(x)": on_real.detach().sigmoid().mean(), "D(G(z))": on_fake.detach().sigmoid().mean()}
        loss = non_saturating_discriminator(on_real, on_fake)
        if penalised:  # seldom, because it costs a second derivative (Karras et al. 2020, arXiv 1912.04958)
            loss = loss + self.config.r1 * self.config.r1_every * r1_penalty(on_real, real)
        judged = Turn("discriminator", loss, beliefs)
        if self.config.at_once:
            yield judged, Turn("generator", non_saturating_generator(on_fake))
        else:
            yield judged
            yield Turn("generator", non_saturating_generator(self.discriminator(fake)))  # by the judge that just moved

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
        return torch.cat([self.generator(part[:, :, None, None]) for part in z.split(100)])
