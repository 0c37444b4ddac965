"""Words become vectors, and a U-Net listens to them: the sentence in every block, each word where the picture is small."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from handmade.networks.unet import UNet, silent, waves

TIMES = 1000.0  # waves that one unit of time has


class Painter(nn.Module):
    """Noisy pictures, their times and what was read -> the direction from picture to noise, of the same shape."""

    def __init__(self, channels: int, words: int, fold: int, width: int, multiples: Sequence[int], blocks: int,
                 attended: int, direction: int):  # fmt: skip
        super().__init__()
        self.width, condition = width, 4 * width
        self.time = nn.Sequential(nn.Linear(width, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.sentence = nn.Sequential(nn.Linear(words, condition), nn.SiLU(), nn.Linear(condition, condition))
        self.direction = silent(nn.Linear(direction, condition)) if direction else None
        self.unet = UNet(channels, channels, width, multiples, blocks, condition, attended, context=words, fold=fold)

    def forward(
        self, x_t: Tensor, t: Tensor, words: Tensor, sentence: Tensor, direction: Tensor | None = None
    ) -> Tensor:
        """(B, C, H, H), times (B,) in 0..1, words (B, T, D), sentences (B, D), perhaps directions (B, S) -> (B, C, H, H)."""
        condition = self.time(waves(t * TIMES, self.width)) + self.sentence(sentence)  # (B, condition)
        if self.direction is not None and direction is not None:
            condition = condition + self.direction(direction)
        return self.unet(x_t, condition, words)
