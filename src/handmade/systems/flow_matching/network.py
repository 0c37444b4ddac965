"""A small diffusion Transformer: a picture is cut into patches, and the patches talk. Peebles & Xie 2022 (arXiv 2212.09748).

Time and labels move every layer: they scale and shift what goes in and weigh what comes out (the paper's adaLN-Zero). Differing
from it: all layers share one such move and add a vector of their own (Chen et al. 2023, arXiv 2310.00426), which saves a third
of the weights, and norms have no mean to take away (Zhang & Sennrich 2019, arXiv 1910.07467).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from handmade.networks.lean import normalise
from handmade.networks.unet import silent, waves

TIMES = 1000.0  # waves that one unit of time has


class Layer(nn.Module):
    """Attention, then two linear layers; each weighed by a gate that starts at zero."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = math.gcd(heads, width)  # as many as divide the width
        self.ask, self.say = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.own = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, moves: Tensor) -> Tensor:
        """(B, T, W) and (B, 6, W) -> (B, T, W)."""
        shift, scale, gate, shift2, scale2, gate2 = (moves + self.own).unsqueeze(2).unbind(1)  # (B, 1, W) each
        x = x + gate * self._attend(normalise(x) * (1 + scale) + shift)
        return x + gate2 * self.narrow(gelu(self.widen(normalise(x) * (1 + scale2) + shift2)))

    def _attend(self, x: Tensor) -> Tensor:
        """Written out: torch's kernel is slow in bf16 for few tokens."""
        q, k, v = self.ask(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, K, T, W/K) each
        odds = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)  # (B, K, T, T)
        return self.say((odds @ v).transpose(1, 2).flatten(2))


class DiT(nn.Module):
    """Noisy pictures, their times and their labels -> the flow, a picture of the same shape."""

    def __init__(self, channels: int, size: int, labels: Mapping[str, Sequence[str]], patch: int, width: int, layers: int,
                 heads: int):  # fmt: skip
        super().__init__()
        self.width, self.patch = width, patch
        self.cut = nn.Conv2d(channels, width, patch, patch)  # one vector per patch
        self.place = nn.Parameter(torch.randn((size // patch) ** 2, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.ModuleList(nn.Embedding(len(values) + 1, width) for values in labels.values())
        self.moves = nn.Sequential(nn.SiLU(), silent(nn.Linear(width, 6 * width)))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.last = nn.Linear(width, 2 * width)  # scale and shift before the patches are drawn
        self.draw = silent(nn.Linear(width, channels * patch**2))

    def forward(self, x_t: Tensor, t: Tensor, told: Tensor) -> Tensor:
        """(B, C, H, H), times (B,) in 0..1, labels (B, A): 0 nothing is said, v + 1 value v -> (B, C, H, H)."""
        condition = self.time(waves(t * TIMES, self.width))  # (B, W)
        for column, embedding in enumerate(self.labels):
            condition = condition + embedding(told[:, column])
        moves = self.moves(condition).unflatten(1, (6, -1))  # (B, 6, W)
        x = self.cut(x_t).flatten(2).transpose(1, 2) + self.place  # (B, T, W)
        for layer in self.layers:
            x = layer(x, moves)
        scale, shift = self.last(condition)[:, None].chunk(2, -1)  # (B, 1, W) each
        drawn = self.draw(normalise(x) * (1 + scale) + shift)  # (B, T, C * p * p)
        side = x_t.shape[-1] // self.patch
        tiles = drawn.view(len(x_t), side, side, -1, self.patch, self.patch)  # (B, h, w, C, p, p)
        return tiles.permute(0, 3, 1, 4, 2, 5).reshape(x_t.shape)
