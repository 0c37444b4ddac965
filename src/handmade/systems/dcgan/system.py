"""DCGAN: a forger and a judge, both convolutional. Radford, Metz, Chintala 2015 (arXiv 1511.06434).

Objective, the non-saturating game of Goodfellow et al. 2014 (section 3), D giving logits:
    discriminator minimises  E[softplus(-D(x))] + E[softplus(D(G(z)))]
    generator     minimises  E[softplus(-D(G(z)))]
The two networks are the paper's. Differing from it: D(G(z)) is judged by the discriminator that has just been updated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, softplus
from torch.optim import Adam, Optimizer

from handmade.artifacts import Images
from handmade.core import Range, Score, System, Turn, ask
from handmade.data.specs import ImageBatch, ImageSpec
from handmade.errors import UserError
from handmade.metrics.image import kid
from handmade.samplers.latents import latents, square, walk


@dataclass(frozen=True)
class Config:
    """The settings of the two networks and of the game."""

    latent: int = 100  # length of the noise vector z
    width: int = 64  # channels of the layer next to the pixels; doubled at every halving
    lr: float = 2e-4  # Adam, both players (paper, section 4)
    beta1: float = 0.5  # 0.9 makes the game oscillate (paper, section 4)


def generator(latent: int, width: int, data: ImageSpec) -> nn.Sequential:
    """(B, latent, 1, 1) noise -> (B, C, H, H) pixels in [-1, 1]."""
    sizes = [width * 2**i for i in range(data.size.bit_length() - 3)][::-1]  # 64 px: 512, 256, 128, 64
    layers = [nn.ConvTranspose2d(latent, sizes[0], 4, bias=False), nn.BatchNorm2d(sizes[0]), nn.ReLU(True)]  # 1 -> 4 px
    for inner, outer in zip(sizes, sizes[1:], strict=False):  # doubles the picture each time
        layers += [nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(sizes[-1], data.channels, 4, 2, 1, bias=False), nn.Tanh())


def discriminator(width: int, data: ImageSpec) -> nn.Sequential:
    """(B, C, H, H) pixels -> (B, 1) logit that the picture is real."""
    sizes = [width * 2**i for i in range(data.size.bit_length() - 3)]  # 64 px: 64, 128, 256, 512
    layers = [nn.Conv2d(data.channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]  # no norm beside the pixels
    for outer, inner in zip(sizes, sizes[1:], strict=False):  # halves the picture each time
        layers += [nn.Conv2d(outer, inner, 4, 2, 1, bias=False), nn.BatchNorm2d(inner), nn.LeakyReLU(0.2, True)]
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
        self.discriminator = discriminator(config.width, data).apply(initialise)

    def optimizers(self) -> Mapping[str, Optimizer]:
        """Adam for both players."""
        betas = (self.config.beta1, 0.999)
        return {
            "discriminator": Adam(self.discriminator.parameters(), self.config.lr, betas),
            "generator": Adam(self.generator.parameters(), self.config.lr, betas),
        }

    def objective(self, batch: ImageBatch) -> Iterator[Turn]:
        """The judge learns to tell drawn from real, then the forger learns to please the judge."""
        real = batch.pixels  # (B, C, H, H)
        fake = self.generator(self.dice.normal(len(real), self.config.latent, 1, 1))
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        beliefs = {"D(x)": on_real.detach().sigmoid().mean(), "D(G(z))": on_fake.detach().sigmoid().mean()}
        yield Turn("discriminator", softplus(-on_real).mean() + softplus(on_fake).mean(), beliefs)
        yield Turn("generator", softplus(-self.discriminator(fake)).mean())  # judged by the D just updated

    def evaluate(
        self, held_out: ImageBatch, judge: Callable[[Tensor], Tensor] | None = None
    ) -> Mapping[str, Score]:
        """Kernel distance between drawn and held-out pictures, as the judge sees them, or as 8 x 8 px thumbnails without one."""
        see = judge or thumbnails
        device = held_out.pixels.device
        drawn = self._draw(latents(len(held_out.pixels), self.config.latent, seed=0).to(device))
        real, fake = see(held_out.pixels), see(drawn)
        half = len(real) // 2
        value, low, high = kid(real, fake)
        floor, _, _ = kid(real[:half], real[half:])
        eyes = "the judge's features" if judge else "8 x 8 px thumbnails"
        about = f"kernel distance of {len(fake)} drawn and held-out pictures, on {eyes}"
        return {"kid": Score(value, about, "lower", floor, low, high)}

    @ask
    def generate(self, n: Annotated[int, Range(1, 10_000)] = 64, seed: int = 0) -> Images:
        """Draw new pictures; the same seed always gives the same ones.

        n: how many pictures
        seed: which pictures; a larger n continues the same series
        """
        return Images(self._draw(latents(n, self.config.latent, seed)))

    @ask
    def walk(self, seeds: str = "0,1,2,3", steps: Annotated[int, Range(1, 100)] = 6) -> Images:
        """Walk through the latent space from one picture to the next; seed s is the first picture of `generate --seed s`.

        seeds: the pictures to visit, separated by commas
        steps: strides from each picture to the next
        """
        stops = self._stops(seeds)
        return Images(self._draw(walk(stops, steps)), columns=steps * (len(stops) - 1) + 1)

    @ask
    def grid(self, seeds: str = "0,1,2,3", side: Annotated[int, Range(2, 32)] = 8) -> Images:
        """Fill a square with everything between four pictures, which stand in its corners.

        seeds: the four corners, separated by commas
        side: pictures along each side
        """
        corners = self._stops(seeds)
        if len(corners) != 4:
            raise UserError(f'a grid has four corners, not {len(corners)}: give four seeds, such as "0,1,2,3"')
        return Images(self._draw(square(corners, side)), columns=side)

    def _draw(self, z: Tensor) -> Tensor:
        """(N, latent) -> (N, C, H, H) in [-1, 1], a hundred at a time."""
        z = z.to(next(self.generator.parameters()).device)
        return torch.cat([self.generator(part[:, :, None, None]) for part in z.split(100)])

    def _stops(self, seeds: str) -> Tensor:
        """The first latent of each seed in "0,1,2", (K, latent)."""
        try:
            numbers = [int(seed) for seed in seeds.split(",")]
        except ValueError:
            raise UserError(f'seeds must be whole numbers separated by commas, such as "0,1,2,3", not "{seeds}"') from None
        return torch.cat([latents(1, self.config.latent, seed) for seed in numbers])


def thumbnails(pixels: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C * 64), what is left of pictures at 8 x 8 px."""
    return adaptive_avg_pool2d(pixels, 8).flatten(1)
