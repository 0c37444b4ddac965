"""The painter: a U-Net over space, shared by all frames, and attention over time between them. Ho et al. 2022 (2204.03458).

Every frame is drawn by the same convolutions; then the frames look at each other, large ones at the same place in all of them,
small ones at every place of all of them and at the words. Differing from the paper: a few frames and pixels are folded into
one place first, a frame is told which one it is by its condition, and at the smallest size attention is over space and time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, silu

from handmade.networks.unet import Attention, Block, silent, waves

TIMES = 1000.0  # waves that one unit of time has


class Stage(nn.Module):
    """Draw every frame by itself, then let the frames look at each other."""

    def __init__(self, inner: int, outer: int, condition: int, heads: int, context: int):
        super().__init__()
        self.block = Block(inner, outer, condition, None, 0.0)
        self.look = Attention(outer, heads, context)
        self.everywhere = context > 0

    def forward(self, x: Tensor, condition: Tensor, words: Tensor) -> Tensor:
        """(B * F, inner, h, w), (B * F, condition), (B, T, context) -> (B * F, outer, h, w)."""
        x = self.block(x, condition).unflatten(0, (len(words), -1)).transpose(1, 2)  # (B, W, F, h, w)
        if self.everywhere:
            x = self.look(x.flatten(3), words).view(x.shape)
        else:
            places = x.permute(0, 3, 4, 1, 2)  # (B, h, w, W, F)
            x = self.look(places.flatten(0, 2).unsqueeze(-1)).view(places.shape).permute(0, 3, 4, 1, 2)
        return x.transpose(1, 2).flatten(0, 1)


class Painter(nn.Module):
    """Noisy clips, their times and the vectors of what is said of them -> the clips that are behind them.

    words: length of a word's vector; fold, together: pixels of a side, and frames, that become one place
    """

    def __init__(self, channels: int, size: int, frames: int, words: int, fold: int, together: int, width: int,
                 multiples: Sequence[int], blocks: int, heads: int):  # fmt: skip
        super().__init__()
        self.width, self.fold, self.together, self.frames = width, fold, together, frames // together
        widths, condition, inner = (
            [width * multiple for multiple in multiples],
            3 * width,
            together * channels * fold**2,
        )
        self.time, self.sentence = nn.Linear(width, condition), nn.Linear(words, condition)
        self.moment = nn.Parameter(torch.randn(self.frames, condition) * 0.5)  # which frames these are
        self.know = nn.Linear(condition, condition)
        self.stem = nn.Conv2d(inner, width, 3, 1, 1)
        small = len(widths) - 1  # the level at which all places of all frames are looked at
        side = size // fold // 2**small
        self.place = nn.Parameter(torch.randn(self.frames, widths[-1], side, side) * 0.1)
        self.down, self.shrink, self.up, now = nn.ModuleList(), nn.ModuleList(), nn.ModuleList(), width
        for level, wide in enumerate(widths):
            context = words if level == small else 0
            self.down.append(nn.ModuleList(
                Stage(now if i == 0 else wide, wide, condition, heads, context) for i in range(blocks)))  # fmt: skip
            self.shrink.append(nn.Identity() if level == small else nn.Conv2d(wide, widths[level + 1], 3, 2, 1))
            now = widths[min(level + 1, small)]
        for level in reversed(range(len(widths))):
            context, wide = words if level == small else 0, widths[level]
            self.up.append(nn.ModuleList(
                Stage((now if i == 0 else wide) + wide, wide, condition, heads, context) for i in range(blocks)))  # fmt: skip
            now = wide
        self.last = silent(nn.Linear(condition, 2 * now))  # how much of each channel is drawn, at this time
        self.keep = silent(nn.Linear(condition, inner))  # and how much of the noisy clip stays as it is
        self.out = silent(nn.Conv2d(now, inner, 3, 1, 1))

    def forward(self, x_t: Tensor, t: Tensor, told: Tensor) -> Tensor:
        """(B, F, C, H, H), times (B,) in 0..1, the vectors of a sentence and its words (B, 1 + T, W) -> (B, F, C, H, H)."""
        sentence, words = told[:, 0], told[:, 1:]
        now = self.time(waves(t * TIMES, self.width)) + self.sentence(sentence)  # (B, condition)
        condition = silu(self.know(silu(now[:, None] + self.moment))).flatten(0, 1)  # (B * F', condition)
        x = x_t.unflatten(1, (self.frames, self.together)).flatten(2, 3).flatten(0, 1)  # (B * F', together * C, H, H)
        folded = pixel_unshuffle(x, self.fold)  # (B * F', inner, h, w)
        x, kept = self.stem(folded), []
        for level, (stages, shrink) in enumerate(zip(self.down, self.shrink, strict=True)):
            if level == len(self.down) - 1:
                x = x + self.place.repeat(len(x_t), 1, 1, 1)
            for stage in stages:  # type: ignore[attr-defined]
                x = stage(x, condition, words)
                kept.append(x)
            x = shrink(x)
        for stages in self.up:
            if x.shape[2:] != kept[-1].shape[2:]:
                x = interpolate(x, scale_factor=2.0)  # nearest neighbours
            for stage in stages:  # type: ignore[attr-defined]
                x = stage(torch.cat([x, kept.pop()], 1), condition, words)
        scale, shift = self.last(condition)[:, :, None, None].chunk(2, 1)  # (B * F', width, 1, 1) each
        x = self.out(torch.addcmul(x + shift, x, scale)) + self.keep(condition)[:, :, None, None] * folded
        x = pixel_shuffle(x, self.fold)  # (B * F', together * C, H, H)
        return x.unflatten(1, (self.together, -1)).reshape(x_t.shape)
