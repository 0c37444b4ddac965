"""The eye: a small residual network that turns a picture into one vector. He et al. 2016 (arXiv 1603.05027)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import silu

from handmade.networks.unet import group_norm


class Residual(nn.Module):
    """Two convolutions beside a way past them; the first may halve the sides."""

    def __init__(self, inner: int, outer: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = group_norm(inner), nn.Conv2d(inner, outer, 3, stride, 1)
        self.norm2, self.conv2 = group_norm(outer), nn.Conv2d(outer, outer, 3, 1, 1)
        self.past = nn.Conv2d(inner, outer, 1, stride) if stride > 1 or inner != outer else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, inner, h, w) -> (B, outer, h / stride, w / stride), rounded up."""
        return self.past(x) + self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(x))))))


class Eye(nn.Module):
    """Pictures -> vectors: each residual block halves the sides, and what is left is averaged over all places."""

    def __init__(self, channels: int, width: int, multiples: Sequence[int], out: int):
        super().__init__()
        widths = [width * multiple for multiple in multiples]
        self.stem = nn.Conv2d(channels, widths[0], 4, 2, 1)
        self.blocks = nn.Sequential(*(Residual(a, b, 2) for a, b in zip([widths[0], *widths], widths, strict=False)))
        self.norm, self.out = group_norm(widths[-1]), nn.Linear(widths[-1], out)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out)."""
        return self.out(silu(self.norm(self.blocks(self.stem(pixels)))).mean((2, 3)))
