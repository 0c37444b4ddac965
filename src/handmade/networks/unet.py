"""U-Net: a picture is looked at in smaller and smaller sizes, and drawn again from small to large. Ronneberger et al. 2015.

Each size on the way back is reminded of its own on the way down (arXiv 1505.04597). The blocks are those that diffusion gave
it: group norm, a condition that scales and shifts every second one (Dhariwal & Nichol 2021, arXiv 2105.05233, section 3.1),
attention where the picture is small, and last layers that start at zero. Differing for speed on a CPU: steps up copy their
neighbours, without a convolution; one skip per block; attention is written out, since torch's is slow in bf16 for few tokens;
and a picture may be folded first, so that a few neighbouring pixels are one place of more channels (Hoogeboom et al. 2023,
arXiv 2301.11093, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, silu


def waves(t: Tensor, width: int, slowest: float = 10_000.0) -> Tensor:
    """(B,) numbers -> (B, width): sines and cosines of many frequencies (Vaswani et al. 2017, arXiv 1706.03762, 3.5)."""
    half = (width + 1) // 2
    steps = torch.arange(half, device=t.device) / max(1, half - 1)
    angles = t.float()[:, None] * torch.exp(-math.log(slowest) * steps)
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :width]


def silent(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Start a layer at zero: what it is added to passes through unchanged at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def group_norm(width: int, learned: bool = True) -> nn.GroupNorm:
    """Normalise groups of about 16 channels; as many groups as divide the width."""
    return nn.GroupNorm(math.gcd(width, max(1, width // 16)), width, affine=learned)


class Attention(nn.Module):
    """Every place looks at every other, and at the tokens of a context where there is one.

    heads: at most; as many of them as divide the width
    """

    def __init__(self, width: int, heads: int, context: int = 0):
        super().__init__()
        self.heads = math.gcd(heads, width)
        self.norm = group_norm(width)
        self.ask = nn.Conv2d(width, 3 * width, 1)  # queries, keys and values
        self.read = nn.Linear(context, 2 * width) if context else None  # keys and values of the context
        self.say = silent(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, W, h, w) and perhaps (B, T, D) -> (B, W, h, w)."""
        q, k, v = self.ask(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)  # (B, K, W/K, h*w)
        if self.read is not None and context is not None:
            more = self.read(context).transpose(1, 2).unflatten(1, (2, self.heads, -1))  # (B, 2, K, W/K, T)
            k, v = torch.cat([k, more[:, 0]], -1), torch.cat([v, more[:, 1]], -1)  # (B, K, W/K, h*w + T)
        odds = (q.transpose(-1, -2) @ k * q.shape[-2] ** -0.5).softmax(-1)  # (B, K, h*w, h*w + T)
        seen = (v @ odds.transpose(-1, -2)).flatten(1, 2)  # (B, W, h*w)
        return x + self.say(seen.unflatten(-1, x.shape[2:]))


class Block(nn.Module):
    """Two convolutions, the second under the condition's influence, and attention where it is asked for."""

    def __init__(self, inner: int, outer: int, condition: int, attention: Attention | None, dropout: float):
        super().__init__()
        self.norm1, self.conv1 = group_norm(inner), nn.Conv2d(inner, outer, 3, 1, 1)
        self.influence = silent(nn.Linear(condition, 2 * outer))
        self.norm2, self.conv2 = group_norm(outer, learned=False), silent(nn.Conv2d(outer, outer, 3, 1, 1))
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()
        self.dropout, self.attention = nn.Dropout(dropout), attention

    def forward(self, x: Tensor, condition: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, inner, h, w), (B, condition) -> (B, outer, h, w)."""
        scale, shift = self.influence(condition)[:, :, None, None].chunk(2, 1)  # (B, outer, 1, 1) each
        hidden = self.norm2(self.conv1(silu(self.norm1(x))))
        hidden = silu(torch.addcmul(hidden + shift, hidden, scale))
        out = self.skip(x) + self.conv2(self.dropout(hidden))
        return out if self.attention is None else self.attention(out, context)


class UNet(nn.Module):
    """Pictures and a condition -> pictures of the same size.

    inner, outer: channels that come in and go out
    multiples: widths of the levels in multiples of `width`, from the full size down; each level halves the sides
    blocks: of each level, on the way down and again on the way up
    condition: length of the vector that every block listens to
    attended: how many of the smallest levels look at all places at once
    context: length of the tokens that attention may also look at; 0: there are none
    fold: pixels of a side that become one place, with all their channels
    heads: of attention, at most; 0: no place looks at another but through convolutions, so that any size will do
    """

    def __init__(self, inner: int, outer: int, width: int, multiples: Sequence[int], blocks: int, condition: int,
                 attended: int = 1, heads: int = 4, dropout: float = 0.0, context: int = 0, fold: int = 1):  # fmt: skip
        super().__init__()
        self.fold, inner, outer = fold, inner * fold**2, outer * fold**2
        widths = [width * multiple for multiple in multiples]
        small = len(widths) - attended  # levels from here on are attended

        def block(inner: int, level: int) -> Block:
            attention = Attention(widths[level], heads, context) if level >= small and heads else None
            return Block(inner, widths[level], condition, attention, dropout)

        self.stem = nn.Conv2d(inner, widths[0], 3, 1, 1)
        self.down, self.shrink, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        now = widths[0]
        for level, wide in enumerate(widths):
            self.down.append(nn.ModuleList(block(now if i == 0 else wide, level) for i in range(blocks)))
            last = level == len(widths) - 1
            self.shrink.append(nn.Identity() if last else nn.Conv2d(wide, wide, 3, 2, 1))
            now = wide
        self.middle = Block(now, now, condition, Attention(now, heads, context) if heads else None, dropout)
        for level in reversed(range(len(widths))):
            wide = widths[level]
            self.up.append(nn.ModuleList(block((now if i == 0 else wide) + wide, level) for i in range(blocks)))
            now = wide
        self.norm, self.out = group_norm(now), silent(nn.Conv2d(now, outer, 3, 1, 1))

    def forward(self, x: Tensor, condition: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, inner, H, W), (B, condition), perhaps (B, T, context) -> (B, outer, H, W)."""
        x, condition, kept = self.stem(pixel_unshuffle(x, self.fold)), silu(condition), []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            for block in stage:  # type: ignore[attr-defined]
                x = block(x, condition, context)
                kept.append(x)
            x = shrink(x)
        x = self.middle(x, condition, context)
        for stage in self.up:
            if x.shape[2:] != kept[-1].shape[2:]:
                x = interpolate(x, scale_factor=2.0)  # nearest neighbours
            for block in stage:  # type: ignore[attr-defined]
                x = block(torch.cat([x, kept.pop()], 1), condition, context)
        return pixel_shuffle(self.out(silu(self.norm(x))), self.fold)
