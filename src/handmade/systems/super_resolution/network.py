"""The refiner: a U-Net that works where the small picture's pixels are, and paints between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from handmade.networks.unet import UNet, waves

TIMES = 1000.0  # steps that one unit of time has for the waves, as in the diffusion rooms


class Refiner(nn.Module):
    """Enlarged pictures, on their way to sharp ones, and their times -> a guess of the sharp ones.

    times: how much larger they are than they were: so many pixels of a side become one place of the network
    No place looks at another but through convolutions (heads = 0), so that pictures of any size can come.
    """

    def __init__(self, channels: int, times: int, width: int, multiples: Sequence[int], blocks: int):
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.unet = UNet(2 * channels, channels, width, multiples, blocks, width, attended=0, heads=0, fold=times)

    def forward(self, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W) on the way, (B, C, H, W) enlarged, times (B,) in 0..1 -> (B, C, H, W)."""
        return y + self.unet(torch.cat([x_t, y], 1), self.time(waves(t * TIMES, self.width)))
