"""What the diffusion room is compared with: the plain float32 U-Net and loop of the best-known small diffusion library.

`PlainUNet` has the form of denoising-diffusion-pytorch: two residual blocks for each size on the way down and two on the way
up, each reminded of its own; blocks that normalise by root mean square, scale and shift after the first convolution by the
time, linear attention at every size (Katharopoulos et al. 2020, arXiv 2006.16236, with the softmax of Shen et al. 2018, arXiv
1812.01243) and full attention at the smallest and in the middle, with four tokens of their own each. `PlainLoop` is
DDPM's: one time in a thousand for each picture, the noise is guessed, Adam, gradients clipped at 1 (Ho et al. 2020, arXiv
2006.11239). Torch's defaults otherwise.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, normalize, pixel_unshuffle, silu

TIMES = 1000


class PlainNorm(nn.Module):
    """Each place's channels brought to one length."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return normalize(x, dim=1) * self.gain * x.shape[1] ** 0.5


class PlainBlock(nn.Module):
    """Two convolutions, each with its norm, and a way around them."""

    def __init__(self, inner: int, outer: int, time: int):
        super().__init__()
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * outer))
        self.conv1, self.norm1 = nn.Conv2d(inner, outer, 3, padding=1), PlainNorm(outer)
        self.conv2, self.norm2 = nn.Conv2d(outer, outer, 3, padding=1), PlainNorm(outer)
        self.around = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, inner, H, W), (B, time) -> (B, outer, H, W)."""
        scale, shift = self.time(t)[:, :, None, None].chunk(2, dim=1)
        hidden = silu(self.norm1(self.conv1(x)) * (scale + 1) + shift)
        return silu(self.norm2(self.conv2(hidden))) + self.around(x)


class PlainAttention(nn.Module):
    """Four heads of 32 numbers, over all places and four tokens that are learned; `linear`: without odds for every pair."""

    def __init__(self, width: int, linear: bool, heads: int = 4, size: int = 32):
        super().__init__()
        self.heads, self.size, self.linear = heads, size, linear
        self.norm, self.qkv = PlainNorm(width), nn.Conv2d(width, 3 * heads * size, 1, bias=False)
        self.own = nn.Parameter(torch.randn(2, heads, size, 4))
        out = nn.Conv2d(heads * size, width, 1)
        self.out = nn.Sequential(out, PlainNorm(width)) if linear else out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        b, _, h, w = x.shape
        q, k, v = (part.reshape(b, self.heads, self.size, h * w) for part in self.qkv(self.norm(x)).chunk(3, dim=1))
        k, v = (torch.cat([own.expand(b, -1, -1, -1), part], -1) for own, part in zip(self.own, (k, v), strict=True))
        q = q.softmax(-2) * self.size**-0.5 if self.linear else q * self.size**-0.5
        if self.linear:
            context = torch.einsum("bhdn,bhen->bhde", k.softmax(-1), v)
            seen = torch.einsum("bhde,bhdn->bhen", context, q)
        else:
            odds = torch.einsum("bhdi,bhdj->bhij", q, k).softmax(-1)
            seen = torch.einsum("bhij,bhdj->bhdi", odds, v)
        return x + self.out(seen.reshape(b, -1, h, w))


class PlainDown(nn.Module):
    """Four neighbours become one place."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.conv = nn.Conv2d(4 * inner, outer, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inner, H, W) -> (B, outer, H/2, W/2)."""
        return self.conv(pixel_unshuffle(x, 2))


class PlainUp(nn.Module):
    """One place becomes four, and is convolved."""

    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inner, H, W) -> (B, outer, 2H, 2W)."""
        return self.conv(interpolate(x, scale_factor=2, mode="nearest"))


class PlainUNet(nn.Module):
    """The library's network."""

    def __init__(self, channels: int = 3, width: int = 64, multiples: tuple[int, ...] = (1, 2, 4, 8)):
        super().__init__()
        self.width, time = width, 4 * width
        widths = [width, *(width * multiple for multiple in multiples)]
        pairs, last = list(pairwise(widths)), len(multiples) - 1
        self.time = nn.Sequential(nn.Linear(width, time), nn.GELU(), nn.Linear(time, time))
        self.first = nn.Conv2d(channels, width, 7, padding=3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (inner, outer) in enumerate(pairs):
            change = PlainDown(inner, outer) if level < last else nn.Conv2d(inner, outer, 3, padding=1)
            blocks = [PlainBlock(inner, inner, time), PlainBlock(inner, inner, time)]
            self.down.append(nn.ModuleList([*blocks, PlainAttention(inner, level < last), change]))
        for level, (inner, outer) in reversed(list(enumerate(pairs))):
            change = PlainUp(outer, inner) if level > 0 else nn.Conv2d(outer, inner, 3, padding=1)
            blocks = [PlainBlock(outer + inner, outer, time), PlainBlock(outer + inner, outer, time)]
            self.up.append(nn.ModuleList([*blocks, PlainAttention(outer, level < last), change]))
        wide = widths[-1]
        self.middle1, self.middle2 = PlainBlock(wide, wide, time), PlainBlock(wide, wide, time)
        self.attention, self.last = PlainAttention(wide, False), PlainBlock(2 * width, width, time)
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W) noisy, (B,) times in 0..999 -> (B, C, H, W)."""
        rates = torch.exp(torch.arange(self.width // 2) * -(math.log(10_000) / (self.width // 2 - 1)))
        angles = t.float()[:, None] * rates
        t = self.time(torch.cat([angles.sin(), angles.cos()], dim=-1))
        first = x = self.first(x)
        kept = []
        for block1, block2, attention, change in self.down:  # type: ignore[misc]
            x = block1(x, t)
            kept.append(x)
            x = attention(block2(x, t))
            kept.append(x)
            x = change(x)
        x = self.middle2(self.attention(self.middle1(x, t)), t)
        for block1, block2, attention, change in self.up:  # type: ignore[misc]
            x = block1(torch.cat([x, kept.pop()], dim=1), t)
            x = change(attention(block2(torch.cat([x, kept.pop()], dim=1), t)))
        return self.out(self.last(torch.cat([x, first], dim=1), t))


class PlainLoop:
    """DDPM's training, and one step of its way back."""

    def __init__(self, width: int = 64, lr: float = 8e-5):
        self.network = PlainUNet(width=width)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=lr, betas=(0.9, 0.99))
        kept = torch.cos((torch.arange(TIMES + 1) / TIMES + 0.008) / 1.008 * math.pi / 2) ** 2
        self.rates = (1 - kept[1:] / kept[:-1]).clamp(0, 0.999)  # Nichol & Dhariwal 2021, arXiv 2102.09672
        self.kept = torch.cumprod(1 - self.rates, 0)

    def step(self, pixels: Tensor) -> float:
        """One step on (B, C, H, W) in [-1, 1]; return the loss."""
        t = torch.randint(0, TIMES, (len(pixels),))
        noise = torch.randn_like(pixels)
        kept = self.kept[t][:, None, None, None]
        loss = mse_loss(self.network(kept.sqrt() * pixels + (1 - kept).sqrt() * noise, t), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    @torch.inference_mode()
    def denoise(self, x: Tensor, t: int) -> Tensor:
        """(B, C, H, W) at time t -> at time t - 1."""
        noise = self.network(x, torch.full((len(x),), t))
        before = self.kept[t - 1] if t else torch.tensor(1.0)
        clean = ((x - (1 - self.kept[t]).sqrt() * noise) / self.kept[t].sqrt()).clamp(-1, 1)
        mean = (before.sqrt() * self.rates[t] * clean + (1 - self.rates[t]).sqrt() * (1 - before) * x) / (
            1 - self.kept[t]
        )
        spread = (self.rates[t] * (1 - before) / (1 - self.kept[t])).sqrt()
        return mean + spread * torch.randn_like(x) if t else mean
