"""Wide convolutions of 3 x 3 with fewer multiplications. Winograd 1980; Lavin & Gray 2015 (arXiv 1509.09308), section 4.

Two neighbouring results of a kernel look at four pixels, and four products of sums suffice for them in place of six; in two
dimensions sixteen for a tile of 2 x 2 results in place of thirty-six. With d the 4 x 4 pixels of a tile, g the kernel, * the
product of one number with one number, and ' the transposed,
    y = A' [(G g G') * (B' d B)] A
Over all tiles and channels each of the sixteen is one matrix product, and so are those of both gradients, which are the same
steps backwards. Sums of bf16 numbers are rounded once more: an error of 0.7 % where the library's kernel has 0.3 %. Whether it
pays is measured by calibration, like everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.weak import WeakIdKeyDictionary

from handmade.engine.convolution import as_autocast_would, plain, replace_forward

NARROWEST = 128  # channels on both sides from which sums cost less than the products that they save, by measurement
TILES = 2048  # of one matrix product, about: what they become should stay in the cache
TAPS = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])  # G
KEPT = WeakIdKeyDictionary()  # a layer's weight -> its version and place, and what was made of it


def weights_moved(weights: Iterable[Tensor]) -> None:
    """These have moved, and what was made of them is old: fused optimizers do not tell a weight's own version."""
    if KEPT:
        for weight in weights:
            KEPT.pop(weight, None)


def use_winograd(network: nn.Module) -> None:
    """Let every wide 3 x 3 convolution of a network multiply less; parameters stay as they are."""
    replace_forward(network, _fits, _forward)


def any_wide(network: nn.Module) -> bool:
    """Whether a network has a convolution that `use_winograd` would change."""
    return any(_fits(module) for module in network.modules())


def _fits(module: nn.Module) -> bool:
    """3 x 3, unstrided, undilated, ungrouped, zero-padded, and wide."""
    if not plain(module) or not isinstance(module, nn.Conv2d) or isinstance(module.padding, str):
        return False
    small = module.kernel_size == (3, 3) and module.stride == (1, 1) and len({*module.padding}) == 1
    return small and min(module.in_channels, module.out_channels) >= NARROWEST


def _forward(module: nn.Conv2d, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():  # samples and scores do not depend on how a run was trained
        return nn.Conv2d.forward(module, x)

    def convolve(x: Tensor) -> Tensor:
        kernels = kept(module, _kernels, x.dtype)
        return _Convolution.apply(x, module.weight, kernels, int(module.padding[0]))  # type: ignore

    return as_autocast_would(module, x, convolve)


def kept(
    module: nn.Conv2d | nn.ConvTranspose2d, make: Callable[[Tensor, torch.dtype], Tensor], dtype: torch.dtype
) -> Tensor:
    """What is made of a layer's weight, which is kept until a player moves it or it is written."""
    weight = module.weight
    now = (weight._version, weight.data_ptr(), dtype)
    known = KEPT.get(weight)
    if known is None or known[0] != now:
        KEPT[weight] = known = (now, make(weight.detach(), dtype))
    return known[1]


class _Convolution(torch.autograd.Function):
    """(B, C, H, W), a weight (O, C, 3, 3), its kernels (16, O, C) in the type of x -> (B, O, H + 2 p - 2, W + 2 p - 2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kernels: Tensor, padding: int) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x, weight, kernels)
        ctx.padding = padding
        height, width = (side + 2 * padding - 2 for side in x.shape[2:])
        h, w = -(-height // 2), -(-width // 2)  # tiles; the last ones may reach beyond the picture
        out = x.new_empty(len(x), h, 2, w, 2, len(weight))
        for part in parts(len(x), h * w):
            products = (_sums(x[part], padding, h, w) @ kernels.mT).view(4, 4, -1, h, w, len(weight))
            rows = x.new_empty(2, *products.shape[1:])  # (2, 4, b, h, w, O)
            _results(products, rows)
            _results(rows.transpose(0, 1), out[part].permute(4, 2, 0, 1, 3, 5))
        return out.view(len(x), 2 * h, 2 * w, -1)[:, :height, :width].permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        (x, weight, kernels), padding = ctx.saved_tensors, ctx.padding
        for_x, for_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # second derivatives go through the library
            dx, dw, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight.to(x.dtype), None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1,
                [for_x, for_weight, False],
            )  # fmt: skip
            return dx, None if dw is None else dw.to(weight.dtype), None, None
        h, w = (-(-side // 2) for side in gradient.shape[2:])
        dx = x.new_empty(len(x), 2 * h + 2, 2 * w + 2, x.shape[1]) if for_x else None
        totals = []
        for part in parts(len(x), h * w):
            shares = _shares(gradient[part], h, w)
            if dx is not None:
                _sums_back(shares @ kernels, dx[part], h, w)
            if for_weight:
                totals.append(shares.mT @ _sums(x[part], padding, h, w))  # (16, O, C)
        if dx is not None:
            dx = dx[:, padding : padding + x.shape[2], padding : padding + x.shape[3]].permute(0, 3, 1, 2)
        return dx, _weight_gradient(totals, weight) if for_weight else None, None, None


def _kernels(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """G g G': (O, C, 3, 3) -> (16, O, C)."""
    g = weight.to(dtype).permute(2, 3, 0, 1).reshape(9, -1)  # (9, O * C)
    return (_both(g) @ g).view(16, *weight.shape[:2])


def _weight_gradient(totals: list[Tensor], weight: Tensor) -> Tensor:
    """G' t G of the summed gradients t (16, O, C) by each product's kernel -> (O, C, 3, 3), laid out as the weight is."""
    total = totals[0] if len(totals) == 1 else torch.stack(totals).sum(0, dtype=weight.dtype)
    g = (_both(total).T @ total.view(16, -1)).view(3, 3, *weight.shape[:2]).permute(2, 3, 0, 1)
    return torch.empty_like(weight).copy_(g)


def _both(like: Tensor) -> Tensor:
    """G in both dimensions, (16, 9)."""
    taps = TAPS.to(like)
    return torch.kron(taps, taps)


def parts(count: int, tiles: int) -> Iterator[slice]:
    """Pictures whose tiles go into one product."""
    together = max(1, TILES // tiles)
    return (slice(k, k + together) for k in range(0, count, together))


def _sums(x: Tensor, padding: int, h: int, w: int) -> Tensor:
    """B' d B of every tile: (b, C, H, W) -> (16, b * h * w, C)."""
    after = 2 * h + 2 - padding - x.shape[2], 2 * w + 2 - padding - x.shape[3]
    rows = pad(
        x.permute(0, 2, 3, 1), (0, 0, padding, after[1], padding, after[0])
    ).contiguous()  # (b, 2h + 2, 2w + 2, C)
    down = x.new_empty(4, len(x), h, 2 * w + 2, x.shape[1])
    sums = x.new_empty(4, 4, len(x), h, w, x.shape[1])
    _sum([rows[:, k : k + 2 * h : 2] for k in range(4)], down)
    _sum([down[:, :, :, k : k + 2 * w : 2] for k in range(4)], sums.transpose(0, 1))
    return sums.view(16, -1, x.shape[1])


def _sums_back(sums: Tensor, out: Tensor, h: int, w: int) -> None:
    """B s B' summed over the tiles that a pixel belongs to: (16, b * h * w, C) -> out (b, 2h + 2, 2w + 2, C)."""
    across = sums.view(4, 4, -1, h, w, sums.shape[-1]).transpose(0, 1)
    down = sums.new_empty(4, len(out), h, 2 * w + 2, sums.shape[-1])
    _sum_back(across, [down[:, :, :, k : k + 2 * w : 2] for k in range(4)], down[:, :, :, 2 * w :])
    _sum_back(down, [out[:, k : k + 2 * h : 2] for k in range(4)], out[:, 2 * h :])


def _shares(y: Tensor, h: int, w: int) -> Tensor:
    """A y A' of every tile, what each product hears of its results: (b, O, height, width) -> (16, b * h * w, O)."""
    rows = pad(y.permute(0, 2, 3, 1), (0, 0, 0, 2 * w - y.shape[3], 0, 2 * h - y.shape[2])).contiguous()
    rows = rows.view(-1, h, 2, w, 2, y.shape[1])
    down = y.new_empty(4, len(y), h, w, 2, y.shape[1])
    shares = y.new_empty(4, 4, len(y), h, w, y.shape[1])
    _share(rows[:, :, 0], rows[:, :, 1], down)
    _share(down[..., 0, :], down[..., 1, :], shares.transpose(0, 1))
    return shares.view(16, -1, y.shape[1])


def _sum(d: Sequence[Tensor], out: Tensor) -> None:
    """B' d: four pixels -> what the kernel's sums are multiplied with, (4, ...)."""
    first, second, third, fourth = out.unbind()
    torch.sub(d[0], d[2], out=first)
    torch.add(d[1], d[2], out=second)
    torch.sub(d[2], d[1], out=third)
    torch.sub(d[1], d[3], out=fourth)


def _sum_back(s: Tensor, d: Sequence[Tensor], last: Tensor) -> None:
    """B s (4, ...) into four pixels, of which the last two are the first two of the next tile; `last`: those of no next one."""
    first, second, third, fourth = s.unbind()
    d[0].copy_(first)
    torch.add(second - third, fourth, out=d[1])
    last.zero_()
    d[2].add_((second + third).sub_(first))
    d[3].sub_(fourth)


def _results(m: Tensor, out: Tensor) -> None:
    """A' m: four products (4, ...) -> two results (2, ...)."""
    first, second, third, fourth = m.unbind()
    torch.add(second + third, first, out=out[0])
    torch.sub(second - third, fourth, out=out[1])


def _share(first: Tensor, second: Tensor, out: Tensor) -> None:
    """A y: two results -> what four products had to do with them, (4, ...)."""
    alone, both, apart, against = out.unbind()
    alone.copy_(first)
    torch.add(first, second, out=both)
    torch.sub(first, second, out=apart)
    torch.neg(second, out=against)
