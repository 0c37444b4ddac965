"""A GAN so small that the engine's own cost shows, in the engine and as a loop written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam

from handmade.core import System, Turn


def _networks() -> tuple[nn.Module, nn.Module]:
    generator = nn.Sequential(nn.ConvTranspose2d(16, 16, 4), nn.BatchNorm2d(16), nn.ReLU(),
                              nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
                              nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh())  # fmt: skip
    discriminator = nn.Sequential(nn.Conv2d(3, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 16, 4, 2, 1),
                                  nn.BatchNorm2d(16), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4), nn.Flatten())  # fmt: skip
    return generator, discriminator


class TinyDCGAN(System):
    """16 px pictures from two networks of a few thousand weights."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self.generator, self.discriminator = _networks()

    def optimizers(self) -> dict[str, Adam]:
        return {name: Adam(self.get_submodule(name).parameters(), 2e-4, (0.5, 0.999))
                for name in ("discriminator", "generator")}  # fmt: skip

    def objective(self, real: Tensor) -> Iterator[Turn]:
        fake = self.generator(self.dice.normal(len(real), 16, 1, 1))
        on_real, on_fake = self.discriminator(real), self.discriminator(fake.detach())
        yield Turn("discriminator", softplus(-on_real).mean() + softplus(on_fake).mean())
        yield Turn("generator", softplus(-self.discriminator(fake)).mean())


def tiny_ours() -> tuple[Callable[[], Any], str]:
    """The engine's step."""
    from benchmarks.engine_step import engine_step
    from handmade.plan import Plan

    torch.manual_seed(0)
    system = TinyDCGAN()
    return engine_step(system, torch.rand(32, 3, 16, 16), Plan(precision="float32", channels_last=False, threads=1))


def tiny_hand() -> tuple[Callable[[], Any], str]:
    """The same game by hand, with fused Adam and gradients for the player only; losses are read every tenth step."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    generator, discriminator = _networks()
    on_g = Adam(generator.parameters(), 2e-4, (0.5, 0.999), fused=True)
    on_d = Adam(discriminator.parameters(), 2e-4, (0.5, 0.999), fused=True)
    real, count = torch.rand(32, 3, 16, 16), [0]

    def step() -> None:
        fake = generator(torch.randn(len(real), 16, 1, 1))
        d_loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake.detach())).mean()
        d_loss.backward(inputs=list(discriminator.parameters()))
        on_d.step()
        on_d.zero_grad()
        g_loss = softplus(-discriminator(fake)).mean()
        g_loss.backward(inputs=list(generator.parameters()))
        on_g.step()
        on_g.zero_grad()
        count[0] += 1
        if count[0] % 10 == 0:
            d_loss.item(), g_loss.item()

    return step, "float32, 1 thread, by hand"
