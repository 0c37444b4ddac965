"""The painter: a U-Net whose large size sees each moment by itself, and whose small size sees the whole clip at once.

Every moment, a few frames, is drawn by the same convolutions (Ho et al. 2022, arXiv 2204.03458, section 3: space and time are
factored). Differing from the paper: a few frames and pixels are folded into one place first; where the picture is small, all
moments lie over each other as channels, so that what happens in a clip is agreed on by a few convolutions, which also look at
the words; and where it is large, a moment does not attend to the others, but is lent half of the channels of the one before it
and half of those of the one after it (Lin et al. 2019, arXiv 1811.08383, section 3), which costs less and learns sooner. An
outline is a matter of where a place is in the thing that it belongs to, so every place knows where it is, and thinks by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pixel_shuffle, pixel_unshuffle, silu

from handmade.networks.unet import Attention, Block, group_norm, silent, waves

TIMES = 1000.0  # waves that one unit of time has


def lend(x: Tensor, moments: int) -> Tensor:
    """(B * M, W, h, w) -> (B * M, 2 W, h, w): half of the channels of the moment before each, and half of the one after it."""
    x = x.unflatten(0, (-1, moments))  # (B, M, W, h, w)
    early, late = x.chunk(2, 2)
    none_early, none_late = torch.zeros_like(early[:, :1]), torch.zeros_like(late[:, :1])
    before, after = torch.cat([none_early, early[:, :-1]], 1), torch.cat([late[:, 1:], none_late], 1)
    return torch.cat([x, before, after], 2).flatten(0, 1)


class Thought(nn.Module):
    """Every place thinks by itself: two linear layers over its channels, both under the condition's influence."""

    def __init__(self, width: int, condition: int, widen: int = 4):
        super().__init__()
        self.norm = group_norm(width, learned=False)
        self.hear = silent(nn.Linear(condition, 2 * (1 + widen) * width))
        self.think, self.say = nn.Conv2d(width, widen * width, 1), silent(nn.Conv2d(widen * width, width, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, W, h, w), (B, condition) -> (B, W, h, w)."""
        scale, shift = self.hear(condition)[:, :, None, None].chunk(2, 1)  # (B, (1 + widen) W, 1, 1) each
        (scale, scale2), (shift, shift2) = (part.tensor_split([x.shape[1]], 1) for part in (scale, shift))
        thought = self.norm(x)
        thought = self.think(torch.addcmul(thought + shift, thought, scale))
        return x + self.say(gelu(torch.addcmul(thought + shift2, thought, scale2)))


class Painter(nn.Module):
    """Noisy clips, their times and the vectors of what is said of them -> the clips that are behind them.

    words: length of a word's vector; fold, together: pixels of a side, and frames, that become one place of one moment
    width: channels of a moment; whole: channels of the small picture of all moments; blocks: of that one
    """

    def __init__(self, channels: int, size: int, frames: int, words: int, fold: int, together: int, width: int, whole: int,
                 blocks: int, heads: int):  # fmt: skip
        super().__init__()
        self.width, self.fold, self.together, self.moments = width, fold, together, frames // together
        condition, inner, side = 3 * width, together * channels * fold**2, size // fold
        self.time, self.sentence = nn.Linear(width, condition), nn.Linear(words, condition)
        self.moment = nn.Parameter(torch.randn(self.moments, condition) * 0.5)  # which moments these are
        self.know = nn.Linear(condition, condition)
        self.stem = nn.Conv2d(inner, width, 3, 1, 1)
        self.down, self.shrink = Block(width, width, condition, None, 0.0), nn.Conv2d(width, width, 3, 2, 1)
        self.join = nn.Conv2d(self.moments * width, whole, 1)
        self.small, self.hear = nn.Parameter(torch.randn(whole, side // 2, side // 2) * 0.1), nn.Linear(words, whole)
        looks = [Attention(whole, heads, words) for _ in range(blocks)]
        self.clip = nn.ModuleList(Block(whole, whole, condition, look, 0.0) for look in looks)
        self.part = nn.Conv2d(whole, self.moments * width * 4, 1)  # a place of the small picture becomes four
        self.mix, self.large = nn.Conv2d(3 * width, width, 1), nn.Parameter(torch.randn(width, side, side) * 0.3)
        draws = [Block(width, width, condition, None, 0.0) for _ in range(2)]
        self.up = nn.ModuleList([*draws, Thought(width, condition)])
        self.last = silent(nn.Linear(condition, 2 * width))  # how much of each channel is drawn, at this time
        self.keep = silent(nn.Linear(condition, inner))  # and how much of the noisy clip stays as it is
        self.out = silent(nn.Conv2d(width, inner, 3, 1, 1))

    def forward(self, x_t: Tensor, t: Tensor, told: Tensor) -> Tensor:
        """(B, F, C, H, H), times (B,) in 0..1, the vectors of a sentence and its words (B, 1 + T, W) -> (B, F, C, H, H)."""
        sentence, words, moments = told[:, 0], told[:, 1:], self.moments
        now = self.time(waves(t * TIMES, self.width)) + self.sentence(sentence)  # (B, condition)
        condition = silu(self.know(silu(now[:, None] + self.moment))).flatten(0, 1)  # (B * M, condition)
        x = x_t.unflatten(1, (moments, self.together)).flatten(2, 3).flatten(0, 1)  # (B * M, together * C, H, H)
        folded = pixel_unshuffle(x, self.fold)  # (B * M, inner, h, w)
        seen = self.down(self.stem(folded), condition)  # (B * M, width, h, w)
        x = self.join(self.shrink(seen).unflatten(0, (-1, moments)).flatten(1, 2))  # (B, whole, h/2, w/2)
        x = x + self.small + self.hear(sentence)[:, :, None, None]
        for block in self.clip:
            x = block(x, silu(now), words)
        x = pixel_shuffle(self.part(x).unflatten(1, (moments, -1)).flatten(0, 1), 2)  # (B * M, width, h, w)
        x = self.mix(torch.cat([lend(x, moments), seen], 1)) + self.large
        for block in self.up:
            x = block(x, condition)
        scale, shift = self.last(condition)[:, :, None, None].chunk(2, 1)  # (B * M, width, 1, 1) each
        x = self.out(torch.addcmul(x + shift, x, scale)) + self.keep(condition)[:, :, None, None] * folded
        x = pixel_shuffle(x, self.fold)  # (B * M, together * C, H, H)
        return x.unflatten(1, (self.together, -1)).reshape(x_t.shape)
