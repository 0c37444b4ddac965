"""How the small pictures are made: pieces of large ones, shrunk, and some of them spoilt a little."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from handmade.core import Dice

REACH = 2  # pixels that a blur looks to each side


def shrunk(x: Tensor, times: int) -> Tensor:
    """(B, C, H, W) -> (B, C, H/times, W/times): the mean of the pixels that one takes the place of."""
    return interpolate(x, scale_factor=1 / times, mode="area")


def enlarged(small: Tensor, times: int) -> Tensor:
    """(B, C, h, w) in [-1, 1] -> (B, C, times h, times w) by cubic interpolation (Keys 1981): soft, and true to the colours."""
    return interpolate(small, scale_factor=times, mode="bicubic", align_corners=False).clamp(-1, 1)


def pieces(pixels: Tensor, side: int, dice: Dice) -> Tensor:
    """(B, C, H, H) -> (B, C, side, side): by chance a piece cut out of the picture, or the whole of it made smaller.

    A line is then seen as thick as it is drawn and as it would be in a smaller picture.
    """
    n, size = len(pixels), pixels.shape[-1]
    if size == side:
        return pixels
    whole = interpolate(pixels, (side, side), mode="area")
    places, cut = dice.integers(size - side + 1, n, 2).tolist(), (dice.uniform(n) < 0.5).tolist()
    return torch.stack([
        pixels[i, :, y : y + side, x : x + side] if cut[i] else whole[i] for i, (y, x) in enumerate(places)
    ])  # fmt: skip


def spoilt(small: Tensor, share: float, blur: float, grain: float, dice: Dice) -> Tensor:
    """(B, C, h, w) -> the same, a share of them blurred and noisy, each by an amount of its own up to `blur` and `grain`."""
    n = len(small)
    amount = torch.where(dice.uniform(n, 1) < share, dice.uniform(n, 2), 0.0)  # (B, 2)
    noise = dice.normal(n, *small.shape[1:])
    return blurred(small, blur * amount[:, 0]) + (grain * amount[:, 1]).view(-1, 1, 1, 1) * noise


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """(B, C, h, w) and (B,) pixels -> the same under a Gaussian of that width; 0 changes nothing."""
    n, c, h, w = x.shape
    steps = torch.arange(-REACH, REACH + 1, device=x.device)
    weights = torch.exp(-steps.square() / (2 * sigma[:, None].square()).clamp_min(1e-6))  # (B, 2 REACH + 1)
    kernels = (weights / weights.sum(1, keepdim=True)).repeat_interleave(c, 0)[:, None]  # (B*C, 1, 2 REACH + 1)
    flat = pad(x, (REACH,) * 4, mode="replicate").reshape(1, n * c, h + 2 * REACH, w + 2 * REACH)
    down = conv2d(flat, kernels[..., None], groups=n * c)
    return conv2d(down, kernels[:, :, None], groups=n * c).view(n, c, h, w)
