"""The two networks of the VAE: residual convolutions that shrink a picture to a code, and their mirror image.

Pictures are cut into squares of `patch` pixels at the door, every later stage halves the side, and the only dense layers
stand at the narrow end, between a code and 4 to 8 pixels a side. No layer looks at the batch, so nothing differs between
training and use.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from handmade.errors import UserError


class Stages(NamedTuple):
    """Side in pixels and number of channels of each stage, the widest side first."""

    sides: list[int]
    widths: list[int]
    narrow: int  # channels at the narrow end that the dense layers see: half of the last, or they would be the largest


def stages(size: int, patch: int, width: int) -> Stages:
    """Halve the side down to 4 to 8 pixels while the channels double, up to four times `width`."""
    sides = [size // patch]
    while sides[-1] > 4 and sides[-1] % 2 == 0:
        sides.append(sides[-1] // 2)
    if size % patch or not 2 <= sides[-1] <= 8:
        raise UserError(
            f"vae cannot cut {size} px into squares of {patch} and halve them down to 4 to 8: use a size such as "
            f"{8 * patch}, {14 * patch}, {16 * patch}, {32 * patch} or {64 * patch} (set data.size), or another config.patch"
        )
    widths = [min(width * 2**i, 4 * width) for i in range(len(sides))]
    return Stages(sides, widths, (widths[-1] + 1) // 2)


class Block(nn.Module):
    """Two convolutions whose outcome is added to what came in; at first they add nothing."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)
        nn.init.zeros_(
            self.second.weight
        )  # lets deep networks do without a normalisation (Zhang et al. 2019, 1901.09321)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, S, S) -> the same shape."""
        return x + self.second(relu(self.first(relu(x))))


class Encoder(nn.Module):
    """(B, C, H, H) pixels -> mean (B, L) and log variance (B, L) of the latent, and logits (B, V) of the labels."""

    def __init__(self, channels: int, shape: Stages, blocks: int, latent: int, labels: int, patch: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, shape.widths[0], patch, patch)]
        layers += [Block(shape.widths[0]) for _ in range(blocks)]
        for outer, inner in pairwise(shape.widths):  # halves the side each time
            layers += [nn.Conv2d(outer, inner, 2, 2), *(Block(inner) for _ in range(blocks))]
        layers += [nn.ReLU(), nn.Conv2d(shape.widths[-1], shape.narrow, 1), nn.ReLU(), nn.Flatten()]
        self.trunk = nn.Sequential(*layers)  # (B, narrow * sides[-1]^2)
        self.parts = [latent, latent, labels]
        self.head = nn.Linear(shape.narrow * shape.sides[-1] ** 2, sum(self.parts))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Mean, log variance, logits."""
        return self.head(self.trunk(pixels)).split(self.parts, dim=1)


class Stage(nn.Module):
    """One stage of the decoder: double the side (but at the first), let the code tune every channel, and add blocks."""

    def __init__(self, inner: int, outer: int, blocks: int, code: int, first: bool):
        super().__init__()
        self.widen = nn.Conv2d(inner, outer, 1) if first else nn.ConvTranspose2d(inner, outer, 2, 2)
        self.tune = nn.Linear(
            code, 2 * outer
        )  # (Perez et al. 2018, arXiv 1709.07871): a colour need not pass the narrow end
        self.blocks = nn.Sequential(*(Block(outer) for _ in range(blocks)))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, inner, S, S), (B, L + V) -> (B, outer, 2 S, 2 S), or S at the first stage."""
        gain, shift = self.tune(code)[:, :, None, None].chunk(2, dim=1)  # (B, outer, 1, 1) each
        return self.blocks(self.widen(x) * (1 + gain) + shift)


class Decoder(nn.Module):
    """(B, L + V) code: a latent and the share of every label -> (B, C, H, H), the middle of what each pixel may be."""

    def __init__(self, channels: int, shape: Stages, blocks: int, code: int, patch: int):
        super().__init__()
        widths, side = [shape.narrow, *shape.widths[::-1]], shape.sides[-1]
        self.start = nn.Sequential(
            nn.Linear(code, shape.narrow * side**2), nn.Unflatten(1, (shape.narrow, side, side)), nn.ReLU()
        )
        pairs = enumerate(pairwise(widths))
        self.stages = nn.ModuleList(Stage(inner, outer, blocks, code, first=not i) for i, (inner, outer) in pairs)
        self.end = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(widths[-1], channels, patch, patch))
        self.log_scale = nn.Parameter(torch.tensor(-2.0))  # how far from the middle a pixel may be, learned

    def forward(self, code: Tensor) -> Tensor:
        """The picture, not yet held within [-1, 1]."""
        x = self.start(code)
        for stage in self.stages:
            x = stage(x, code)
        return self.end(x)
