"""The two networks of the game. Both are the size of DCGAN's; what differs is where the labels enter.

A code is what a picture is to show: a one-hot vector per attribute, side by side, V numbers in all.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

SLOPE = 0.2  # of LeakyReLU


def widths(width: int, size: int) -> list[int]:
    """Channels at 4 px, 8 px, ... and half of `size`: 64 px at width 32 has 256, 128, 64 and 32."""
    return [width * 2**i for i in range(size.bit_length() - 3)][::-1]


class Generator(nn.Module):
    """Noise z (B, L) and a code (B, V) -> pixels (B, C, H, H) in [-1, 1]."""

    def __init__(self, latent: int, values: int, width: int, channels: int, size: int):
        super().__init__()
        sizes = widths(width, size)
        self.start = nn.ConvTranspose2d(latent + values, sizes[0], 4, bias=False)  # 1 -> 4 px
        self.norms = nn.ModuleList(StyledNorm(inner, latent + values) for inner in sizes)
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=False) for inner, outer in pairwise([*sizes, channels])
        )  # each doubles the picture

    def forward(self, z: Tensor, code: Tensor) -> Tensor:
        """Grow the picture; noise and labels are told to every layer."""
        style = torch.cat([z, code], 1)  # (B, L + V)
        x = self.start(style[:, :, None, None])  # (B, W, 4, 4)
        for norm, grow in zip(self.norms, self.grow, strict=True):
            x = grow(norm(x, style).relu())  # (B, W / 2, 2 h, 2 h)
        return x.tanh()


class StyledNorm(nn.Module):
    """BatchNorm whose scale and shift each picture chooses by its style (Chen et al. 2018, arXiv 1810.01365)."""

    def __init__(self, channels: int, style: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.style = nn.Linear(style, 2 * channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(B, C, h, h) and (B, S) -> (B, C, h, h)."""
        scale, shift = self.style(style)[:, :, None, None].chunk(2, 1)
        return self.norm(x) * (1 + scale) + shift


class Critic(nn.Module):
    """Pixels (B, C, H, H) -> (B, 1 + V) scores: one of the picture alone, and one of each value of each attribute.

    It has no BatchNorm: the penalty is on the slope at each picture, which may not depend on the others of the batch.
    """

    def __init__(self, values: int, width: int, channels: int, size: int):
        super().__init__()
        sizes = widths(width, size)[::-1]
        self.shrink = nn.ModuleList(
            nn.Conv2d(outer, inner, 4, 2, 1) for outer, inner in pairwise([channels, *sizes])
        )  # each halves the picture
        self.scores = nn.Conv2d(sizes[-1], 1 + values, 4)

    def forward(self, pixels: Tensor) -> Tensor:
        """Score pictures."""
        x = pixels
        for shrink in self.shrink:
            x = leaky_relu(shrink(x), SLOPE)  # (B, 2 W, h / 2, h / 2)
        return self.scores(x).flatten(1)  # 4 px -> (B, 1 + V)


def judged(scores: Tensor, code: Tensor) -> Tensor:
    """(B, 1 + V) scores and (B, V) codes -> (B,): the picture's own score and those of the values that its code names.

    This is the projection of Miyato and Koyama 2018 (arXiv 1802.05637): the critic's last weights are the embeddings.
    """
    return scores[:, 0] + (scores[:, 1:] * code).sum(1)


def initialise(layer: nn.Module) -> None:
    """Draw a layer's first weights; to be called by `network.apply`, which visits every layer.

    The generator's as DCGAN does, N(0, 0.02), since BatchNorm follows. The critic has none, so its own keep the size of
    what passes through (He et al. 2015, arXiv 1502.01852).
    """
    if isinstance(layer, nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        nn.init.zeros_(layer.bias)
    elif isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, SLOPE)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
