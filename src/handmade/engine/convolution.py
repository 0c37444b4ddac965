"""Convolutions computed better in another form: weight gradients of wide ones, kernels as large as the picture, narrow ends.

A convolution's weight gradient is `g^T @ patches(x)`. On a CPU the library's own kernel for it is far from a matrix
product's speed when the picture is small and the channels are many (256 to 512 channels at 4 px, two cores, bf16: 12 ms
against 20). And where one kernel covers the whole picture, or one pixel becomes a whole picture, the convolution is a
matrix product with nothing to slide. The values are the same; whether it pays is measured by calibration, like everything else.

A large kernel that ends in three channels leaves the library's blocks of sixteen nearly empty, once for each tap. Row by row of
the kernel, with the rows' results as channels of their own that are added up shifted, it takes 0.6 of the time: 7 x 7, 64 to 3
channels at 128 px, forward and backward, bf16 as float32, one thread as two. So this is always done.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

NARROWEST = 256  # channels on both sides from which the product is faster, by measurement
FEW, LARGE = 4, 5  # channels at a narrow end, and rows of a kernel from which they are worth it


def use_patches(network: nn.Module) -> None:
    """Let every convolution of a network that can be a matrix product be one; parameters stay as they are."""
    replace_forward(network, _may_cover, _covering)
    replace_forward(network, _wide, lambda module, x: strided(module, x, Ways(module)))


def any_fits(network: nn.Module) -> bool:
    """Whether a network has a convolution that `use_patches` would change."""
    return any(_wide(module) or _may_cover(module) for module in network.modules())


def use_rows(network: nn.Module) -> None:
    """Let every large kernel of a network that ends in few channels go row by row; parameters stay as they are."""
    replace_forward(network, _narrow, _by_rows)


def replace_forward(network: nn.Module, fits: Callable[[nn.Module], bool], forward: Callable[..., Tensor]) -> None:
    """Let every module that fits compute by `forward(module, x)`; parameters stay as they are."""
    for module in network.modules():
        if fits(module):
            module.forward = functools.partial(forward, module)  # type: ignore[method-assign]


def _wide(module: nn.Module) -> TypeGuard[nn.Conv2d | nn.ConvTranspose2d]:
    """Square, strided, undilated, ungrouped, zero-padded, and wide."""
    if not plain(module) or isinstance(module.padding, str):
        return False
    square = len({*module.kernel_size}) == len({*module.stride}) == len({*module.padding}) == 1 and module.stride[0] > 1
    return square and min(module.in_channels, module.out_channels) >= NARROWEST


def _may_cover(module: nn.Module) -> TypeGuard[nn.Conv2d | nn.ConvTranspose2d]:
    """No padding, and no small kernel that slides: whether it is as large as the picture is seen when there is one."""
    return plain(module) and module.padding == (0, 0) and min(module.kernel_size) > 3 and not _narrow(module)


def _narrow(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Unstrided, large, and to few channels."""
    if not plain(module) or not isinstance(module, nn.Conv2d) or isinstance(module.padding, str):
        return False
    return module.stride == (1, 1) and module.out_channels <= FEW and module.kernel_size[0] >= LARGE


def plain(module: nn.Module) -> TypeGuard[nn.Conv2d | nn.ConvTranspose2d]:
    """Undilated, ungrouped, zero-padded."""
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or module.padding_mode != "zeros":
        return False
    if isinstance(module, nn.ConvTranspose2d) and module.output_padding != (0, 0):
        return False
    return module.groups == 1 and module.dilation == (1, 1)


def as_autocast_would(
    module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, convolve: Callable[[Tensor], Tensor]
) -> Tensor:
    """Convolve in the type that autocast asks for, where it is on, and add the layer's bias: `convolve` has neither."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))
    with torch.autocast(device, enabled=False):
        out = convolve(x)
    return out if module.bias is None else out + module.bias.to(out.dtype).view(1, -1, 1, 1)


def _covering(module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A kernel that covers the picture, or a pixel that becomes one; anything else as the layer itself would."""
    transposed = isinstance(module, nn.ConvTranspose2d)
    if x.shape[2:] != ((1, 1) if transposed else module.kernel_size):
        return type(module).forward(module, x)  # type: ignore[arg-type]

    def multiply(x: Tensor) -> Tensor:
        weight = module.weight.to(x.dtype).permute(0, 2, 3, 1)  # channels last, which many networks keep in memory so
        if transposed:  # (B, C, 1, 1) by (C, k, k, O)
            return (x.flatten(1) @ weight.flatten(1)).view(-1, *weight.shape[1:]).permute(0, 3, 1, 2)
        return (x.permute(0, 2, 3, 1).flatten(1) @ weight.flatten(1).t())[:, :, None, None]  # (B, O, 1, 1)

    return as_autocast_would(module, x, multiply)


def _by_rows(module: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution with each row of the kernel, and the sum of what they give to a pixel."""
    if not torch.is_grad_enabled():  # samples and scores do not depend on how a run was trained
        return nn.Conv2d.forward(module, x)
    (rows, columns), padding = module.kernel_size, module.padding

    def convolve(x: Tensor) -> Tensor:
        weight = module.weight.to(x.dtype).transpose(1, 2)  # (O, rows, C, columns)
        each = conv2d(x, weight.reshape(-1, module.in_channels, 1, columns), padding=padding)  # type: ignore
        each = each.unflatten(1, (-1, rows))  # (B, O, rows, H + 2 p, W')
        height = each.shape[3] - rows + 1
        parts = [each[:, :, row, row : row + height] for row in range(rows)]
        wide = torch.promote_types(x.dtype, torch.float32)  # bf16 is rounded once, as in the library
        return torch.stack(parts).sum(0, dtype=wide).to(x.dtype)

    return as_autocast_would(module, x, convolve)


def strided(module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, ways: Ways) -> Tensor:
    """A strided convolution, or a transposed one, (B, C, H, W) -> (B, O, H', W'), with products of one's own."""

    def convolve(x: Tensor) -> Tensor:
        later = _Later()
        dtype = x.dtype if ways.reads_weight else module.weight.dtype
        return _Strided.apply(x, _Weight.apply(module.weight, dtype, later), ways, later)  # type: ignore

    return as_autocast_would(module, x, convolve)


class Ways:
    """How a layer's results and gradients are computed; here the results by the library, the weight's by patches."""

    reads_weight = True  # in the type of the pictures

    def __init__(self, module: nn.Conv2d | nn.ConvTranspose2d):
        self.transposed = isinstance(module, nn.ConvTranspose2d)
        self.kernel, self.stride, self.padding = module.kernel_size, module.stride, module.padding
        self.how = (self.stride, self.padding, [1, 1], self.transposed, [0, 0], 1)  # as the library wants to be told

    def result(self, x: Tensor, weight: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, H', W')."""
        return torch.ops.aten.convolution(x, weight, None, *self.how)

    def gradients(self, gradient: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        """Those of the pictures and of the weight, where wanted, by the library, which differentiates them again."""
        found = torch.ops.aten.convolution_backward(gradient, x, weight.to(x.dtype), None, *self.how, [*wanted, False])
        return list(found[:2])

    def towards_input(self, gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor | None:
        """What the pictures had to do with it, (B, C, H, W)."""
        return self.gradients(gradient, x, weight, (True, False))[0]

    def towards_weight(self, small: Tensor, large: Tensor) -> Tensor:
        """What the weight had to do with it: (B, O, h, w) on the strided side, (B, C, H, W) on the other -> (O, C, k, k)."""
        return weight_gradient(small, large, self.kernel[0], self.stride[0], int(self.padding[0]))


class _Later:
    """How a weight's gradient will be computed, should anybody want it.

    A function of autograd is not told which of its gradients a backward pass is after: when a generator learns through a
    critic, those of the critic's weights would be computed and thrown away. A node of its own is only called where it counts.
    """

    product: Callable[[], Tensor] | None = None


class _Weight(torch.autograd.Function):
    """A weight in the type in which it is used."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, dtype: torch.dtype, later: _Later) -> Tensor:  # pyright: ignore
        ctx.later, ctx.dtype = later, weight.dtype
        return weight.view_as(weight) if weight.dtype == dtype else weight.to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        product, ctx.later.product = ctx.later.product, None
        if product is not None:  # where a penalty's second derivative has a share in it, that has come by the library
            gradient = product() + gradient if any(gradient.stride()) else product()
        return gradient.to(ctx.dtype), None, None


class _Strided(torch.autograd.Function):
    """Results and gradients in their ways; second derivatives through the library."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, ways: Ways, later: _Later) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x, weight)
        ctx.ways, ctx.later = ways, later
        return ways.result(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        (x, weight), ways = ctx.saved_tensors, ctx.ways
        for_x, for_weight = ctx.needs_input_grad[:2]
        ctx.later.product = None  # of an earlier pass that was not after it
        if torch.is_grad_enabled():
            dx, dw = ways.gradients(gradient, x, weight, (for_x, for_weight))
            return dx, dw if dw is None else dw.to(weight.dtype), None, None
        dx, dw = ways.towards_input(gradient, x, weight) if for_x else None, None
        if for_weight:
            small, large = (x, gradient) if ways.transposed else (gradient, x)
            ctx.later.product = functools.partial(ways.towards_weight, small.detach(), large.detach())
            dw = weight.new_zeros(()).expand_as(weight)  # a stand-in: strides of nothing but 0, and no memory
        return dx, dw, None, None


def weight_gradient(small: Tensor, large: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """(B, O, h, w) on the strided side and (B, C, H, W) on the other -> (O, C, kernel, kernel)."""
    n, c = large.shape[:2]
    o, h, w = small.shape[1:]
    rows = pad(large.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding)).contiguous()  # (B, H+2p, W+2p, C)
    b, y, x, _ = rows.stride()
    patches = rows.as_strided((n, h, w, kernel, kernel * c), (b, stride * y, stride * x, y, 1))
    flat = patches.reshape(n * h * w, kernel * kernel * c)
    product = small.permute(0, 2, 3, 1).reshape(n * h * w, o).t() @ flat  # (O, kernel * kernel * C)
    return product.view(o, kernel, kernel, c).permute(0, 3, 1, 2)
