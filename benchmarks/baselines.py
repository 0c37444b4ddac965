"""What we compare with: plain loops as people write them, in float32, contiguous, with torch's defaults.

`PlainDCGAN` has the form of the common PyTorch DCGAN example: real and forged pictures judged in two backward passes, and
the forger's turn computes the judge's weight gradients too. `BookDCGAN` has the form of the book's chapter 4: three
optimizer steps, the forger run twice, its pictures not detached. Networks: Radford et al. 2015, as in our dcgan room.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def plain_generator(latent: int = 100, width: int = 64, channels: int = 3) -> nn.Sequential:
    """(B, latent, 1, 1) -> (B, C, 64, 64)."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, width * 8, 4, 1, 0, bias=False), nn.BatchNorm2d(width * 8),
                               nn.ReLU(True)]  # fmt: skip
    for inner, outer in ((8, 4), (4, 2), (2, 1)):
        layers += [nn.ConvTranspose2d(width * inner, width * outer, 4, 2, 1, bias=False), nn.BatchNorm2d(width * outer),
                   nn.ReLU(True)]  # fmt: skip
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh())


def plain_discriminator(width: int = 64, channels: int = 3) -> nn.Sequential:
    """(B, C, 64, 64) -> (B, 1, 1, 1), a logit."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for inner, outer in ((1, 2), (2, 4), (4, 8)):
        layers += [nn.Conv2d(width * inner, width * outer, 4, 2, 1, bias=False), nn.BatchNorm2d(width * outer),
                   nn.LeakyReLU(0.2, True)]  # fmt: skip
    return nn.Sequential(*layers, nn.Conv2d(width * 8, 1, 4, 1, 0, bias=False))


def start(layer: nn.Module) -> None:
    """The paper's initialisation."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


class PlainDCGAN:
    """The common example's loop."""

    def __init__(self, width: int = 64, latent: int = 100):
        self.latent = latent
        self.generator = plain_generator(latent, width).apply(start)
        self.discriminator = plain_discriminator(width).apply(start)
        self.on_g = torch.optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.on_d = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.loss = nn.BCEWithLogitsLoss()

    def step(self, real: Tensor) -> tuple[float, float]:
        """One step on (B, C, 64, 64); return both losses."""
        ones, zeros = real.new_ones(len(real), 1, 1, 1), real.new_zeros(len(real), 1, 1, 1)
        self.discriminator.zero_grad()
        on_real = self.loss(self.discriminator(real), ones)
        on_real.backward()
        fake = self.generator(torch.randn(len(real), self.latent, 1, 1, device=real.device))
        on_fake = self.loss(self.discriminator(fake.detach()), zeros)
        on_fake.backward()
        self.on_d.step()
        self.generator.zero_grad()
        fooled = self.loss(self.discriminator(fake), ones)
        fooled.backward()
        self.on_g.step()
        return (on_real + on_fake).item(), fooled.item()


class BookDCGAN(PlainDCGAN):
    """The book's loop."""

    def step(self, real: Tensor) -> tuple[float, float]:
        """One step on (B, C, 64, 64); return both losses."""
        ones, zeros = real.new_ones(len(real), 1, 1, 1), real.new_zeros(len(real), 1, 1, 1)
        self.on_d.zero_grad()
        on_real = self.loss(self.discriminator(real), ones)
        on_real.backward()
        self.on_d.step()
        self.on_d.zero_grad()
        fake = self.generator(torch.randn(len(real), self.latent, 1, 1, device=real.device))
        on_fake = self.loss(self.discriminator(fake), zeros)
        on_fake.backward()
        self.on_d.step()
        self.on_g.zero_grad()
        fooled = self.loss(
            self.discriminator(self.generator(torch.randn(len(real), self.latent, 1, 1, device=real.device))), ones
        )
        fooled.backward()
        self.on_g.step()
        return (on_real + on_fake).item(), fooled.item()
