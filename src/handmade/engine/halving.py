"""Convolutions of 4 x 4 that halve or double a picture, with fewer multiplications. As winograd.py, with two taps.

With a stride of two the even rows of a picture meet two of the four taps and the odd rows the others, and so do the columns:
it is a convolution of 2 x 2 that does not stride, over four times the channels. Two neighbouring results of two taps look at
three pixels, and three products suffice for them in place of four,
    y0 = (d0 - d1) g0 + d1 (g0 + g1)        y1 = d1 (g0 + g1) + (d2 - d1) g1
nine for a tile of 2 x 2 results in place of sixteen, with no factor but 1 and -1. A transposed convolution is the same read
backwards. Whether it pays is measured by calibration, like everything else.
"""

from __future__ import annotations

import functools
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from handmade.engine.convolution import Ways, plain, replace_forward, strided
from handmade.engine.winograd import kept, parts

NARROWEST = 128  # channels on both sides from which sums cost less than the products that they save, by measurement


def use_halving(network: nn.Module) -> None:
    """Let every wide convolution of a network that halves or doubles multiply less; parameters stay as they are."""
    replace_forward(network, _fits, _forward)


def any_halves(network: nn.Module) -> bool:
    """Whether a network has a convolution that `use_halving` would change."""
    return any(_fits(module) for module in network.modules())


def _fits(module: nn.Module) -> TypeGuard[nn.Conv2d | nn.ConvTranspose2d]:
    """4 x 4, a stride of 2, a padding of 1, and wide."""
    if not plain(module) or min(module.in_channels, module.out_channels) < NARROWEST:
        return False
    return (module.kernel_size, module.stride, module.padding) == ((4, 4), (2, 2), (1, 1))


def _forward(module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():  # samples and scores do not depend on how a run was trained
        return type(module).forward(module, x)  # type: ignore[arg-type]
    return strided(module, x, Tiles(module))


class Tiles(Ways):
    """Results and gradients from tiles of 2 x 2 pixels of the small picture."""

    reads_weight = False

    def __init__(self, module: nn.Conv2d | nn.ConvTranspose2d):
        super().__init__(module)
        self.kernels = functools.partial(kept, module, _kernels)

    def result(self, x: Tensor, weight: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        kernels = self.kernels(x.dtype)
        return double(x, kernels, 2 * x.shape[2], 2 * x.shape[3]) if self.transposed else halve(x, kernels)

    def towards_input(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        """What the pictures had to do with it, (B, C, H, W)."""
        kernels = self.kernels(x.dtype)
        return halve(gradient, kernels) if self.transposed else double(gradient, kernels, *x.shape[2:])

    def towards_weight(self, small: Tensor, large: Tensor) -> Tensor:
        """What the weight had to do with it: (B, O, h, w) and (B, C, H, W) -> (O, C, 4, 4)."""
        return weight_gradient(small, large)


def halve(large: Tensor, kernels: Tensor) -> Tensor:
    """(B, C, H, W) with kernels (9, O, 4 C) -> (B, O, H // 2, W // 2)."""
    height, width = large.shape[2] // 2, large.shape[3] // 2
    h, w = -(-height // 2), -(-width // 2)  # tiles; the last ones may reach beyond the picture
    out = large.new_empty(len(large), h, 2, w, 2, kernels.shape[1])
    for part in parts(len(large), h * w):
        products = (_sums(large[part], h, w) @ kernels.mT).view(3, 3, -1, h, w, kernels.shape[1])
        down = large.new_empty(2, *products.shape[1:])  # (2, 3, b, h, w, O)
        _two_of_three(products, down)
        _two_of_three(down.transpose(0, 1), out[part].permute(4, 2, 0, 1, 3, 5))
    return out.view(len(large), 2 * h, 2 * w, -1)[:, :height, :width].permute(0, 3, 1, 2)


def double(small: Tensor, kernels: Tensor, height: int, width: int) -> Tensor:
    """What the pixels of a picture had to do with its half: (B, O, h, w) with kernels (9, O, 4 C) -> (B, C, height, width)."""
    h, w = (-(-side // 2) for side in small.shape[2:])
    out = small.new_empty(len(small), 4 * h + 2, 4 * w + 2, kernels.shape[2] // 4)
    for part in parts(len(small), h * w):
        _sums_back(_shares(small[part], h, w) @ kernels, out[part], h, w)
    return out[:, 1 : 1 + height, 1 : 1 + width].contiguous().permute(0, 3, 1, 2)  # what comes next is slow on borders


def weight_gradient(small: Tensor, large: Tensor) -> Tensor:
    """(B, O, h, w) of the half and (B, C, H, W) of the picture -> (O, C, 4, 4)."""
    h, w = (-(-side // 2) for side in small.shape[2:])
    totals = [_shares(small[k], h, w).mT @ _sums(large[k], h, w) for k in parts(len(small), h * w)]  # (9, O, 4 C)
    total = totals[0] if len(totals) == 1 else torch.stack(totals).sum(0)
    total = total.view(3, 3, small.shape[1], 2, 2, large.shape[1])
    down = total.new_empty(2, *total.shape[1:])  # (2, 3, O, 2, 2, C)
    weight = total.new_empty(total.shape[2], 2, 2, 2, 2, total.shape[5])  # tap and phase; of rows, of columns
    _two_of_three(total, down)
    _two_of_three(down.transpose(0, 1), weight.permute(3, 1, 0, 2, 4, 5))
    return weight.view(-1, 4, 4, total.shape[5]).permute(0, 3, 1, 2)


def _kernels(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """What the sums are multiplied with: (O, C, 4, 4) -> (9, O, 4 C)."""
    o, c = weight.shape[:2]
    taps = weight.to(dtype).permute(0, 2, 3, 1).reshape(o, 2, 2, 2, 2, c)  # tap and phase; of rows, of columns
    down = taps.new_empty(3, o, 2, 2, 2, c)
    kernels = taps.new_empty(3, 3, o, 2, 2, c)
    _three_of_two(taps[:, 0], taps[:, 1], down)
    _three_of_two(down[:, :, :, 0], down[:, :, :, 1], kernels.transpose(0, 1))
    return kernels.view(9, o, 4 * c)


def _shares(y: Tensor, h: int, w: int) -> Tensor:
    """What each product hears of its results: (b, O, height, width) -> (9, b * h * w, O)."""
    rows = pad(y.permute(0, 2, 3, 1), (0, 0, 0, 2 * w - y.shape[3], 0, 2 * h - y.shape[2])).contiguous()
    rows = rows.view(-1, h, 2, w, 2, y.shape[1])
    down = y.new_empty(3, len(y), h, w, 2, y.shape[1])
    shares = y.new_empty(3, 3, len(y), h, w, y.shape[1])
    _three_of_two(rows[:, :, 0], rows[:, :, 1], down)
    _three_of_two(down[..., 0, :], down[..., 1, :], shares.transpose(0, 1))
    return shares.view(9, -1, y.shape[1])


def _sums(x: Tensor, h: int, w: int) -> Tensor:
    """Differences of the pixels of every tile: (b, C, H, W) -> (9, b * h * w, 4 C)."""
    after = 4 * h + 1 - x.shape[2], 4 * w + 1 - x.shape[3]
    rows = pad(x.permute(0, 2, 3, 1), (0, 0, 1, after[1], 1, after[0])).contiguous()  # (b, 4 h + 2, 4 w + 2, C)
    down = x.new_empty(3, len(x), h, 2, 4 * w + 2, x.shape[1])
    sums = x.new_empty(3, 3, len(x), h, w, 2, 2, x.shape[1])
    _differences(_thirds(rows, h, 1), down)
    _differences(_thirds(down, w, 4), sums.permute(1, 0, 2, 3, 5, 4, 6, 7))  # (3, 3, b, h, 2, w, 2, C)
    return sums.view(9, -1, 4 * x.shape[1])


def _sums_back(sums: Tensor, out: Tensor, h: int, w: int) -> None:
    """Those differences read backwards: (9, b * h * w, 4 C) -> out (b, 4 h + 2, 4 w + 2, C)."""
    across = sums.view(3, 3, -1, h, w, 2, 2, out.shape[3]).permute(1, 0, 2, 3, 5, 4, 6, 7)  # (3, 3, b, h, 2, w, 2, C)
    down = sums.new_empty(3, len(out), h, 2, 4 * w + 2, out.shape[3])
    _differences_back(across, _thirds(down, w, 4), down[:, :, :, :, 4 * w :])
    _differences_back(down, _thirds(out, h, 1), out[:, 4 * h :])


def _thirds(rows: Tensor, tiles: int, axis: int) -> list[Tensor]:
    """First, second and third pixels of every tile, of even and of odd phase: an axis of 4 t + 2 -> axes (t, 2).

    A tile's third pixels are the first ones of the next.
    """
    shape, strides = list(rows.shape), list(rows.stride())
    step = strides[axis]
    shape[axis : axis + 1], strides[axis : axis + 1] = [tiles, 2], [4 * step, step]
    return [rows.as_strided(shape, strides, rows.storage_offset() + 2 * k * step) for k in range(3)]


def _differences(thirds: list[Tensor], out: Tensor) -> None:
    """Three pixels into what the taps' sums are multiplied with, (3, ...)."""
    torch.sub(thirds[0], thirds[1], out=out[0])
    out[1].copy_(thirds[1])
    torch.sub(thirds[2], thirds[1], out=out[2])


def _differences_back(s: Tensor, thirds: list[Tensor], last: Tensor) -> None:
    """Three sums (3, ...) into the pixels they are differences of; `last`: the third ones of the last tile."""
    thirds[0].copy_(s[0])
    torch.sub(s[1], s[0], out=thirds[1])
    thirds[1].sub_(s[2])
    last.zero_()
    thirds[2].add_(s[2])


def _three_of_two(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Two taps, or two results, into the three products they have to do with."""
    out[0].copy_(a)
    torch.add(a, b, out=out[1])
    out[2].copy_(b)


def _two_of_three(m: Tensor, out: Tensor) -> None:
    """Three products (3, ...) into two results, or two taps."""
    torch.add(m[0], m[1], out=out[0])
    torch.add(m[1], m[2], out=out[1])
