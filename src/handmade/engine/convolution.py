"""Weight gradients of wide convolutions as one matrix product over the input's patches.

A convolution's weight gradient is `g^T @ patches(x)`. On a CPU the library's own kernel for it is far from a matrix
product's speed when the picture is small and the channels are many (256 to 512 channels at 4 px: 26 ms against 95 ms in
bf16, one core). The values are the same; whether it pays is measured by calibration, like everything else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

NARROWEST = {torch.bfloat16: 128, torch.float32: 256}  # channels from which the product is faster, by measurement


def use_patches(network: nn.Module) -> None:
    """Let every wide strided convolution of a network take its weight gradient from patches; parameters stay as they are."""
    for module in network.modules():
        if _fits(module):
            module.forward = functools.partial(_forward, module)  # type: ignore[method-assign]


def any_fits(network: nn.Module) -> bool:
    """Whether a network has a convolution that `use_patches` would change."""
    return any(_fits(module) for module in network.modules())


def _fits(module: nn.Module) -> bool:
    """Square, strided, undilated, ungrouped, zero-padded, and wide."""
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or module.padding_mode != "zeros":
        return False
    if isinstance(module, nn.ConvTranspose2d) and module.output_padding != (0, 0):
        return False
    plain = module.groups == 1 and module.dilation == (1, 1) and not isinstance(module.padding, str)
    square = len({*module.kernel_size}) == len({*module.stride}) == 1 and module.stride[0] > 1
    return plain and square and min(module.in_channels, module.out_channels) >= min(NARROWEST.values())


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


def _forward(module: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    transposed = isinstance(module, nn.ConvTranspose2d)

    def convolve(x: Tensor) -> Tensor:
        return _Strided.apply(x, module.weight.to(x.dtype), module.stride, module.padding, transposed)  # type: ignore

    return as_autocast_would(module, x, convolve)


class _Strided(torch.autograd.Function):
    """A strided convolution, or a transposed one, (B, C, H, W) -> (B, O, H', W')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Any, padding: Any, transposed: bool) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(x, weight)
        ctx.how = (stride, padding, transposed)
        return torch.ops.aten.convolution(x, weight, None, stride, padding, [1, 1], transposed, [0, 0], 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        (x, weight), (stride, padding, transposed) = ctx.saved_tensors, ctx.how
        for_x, for_weight = ctx.needs_input_grad[:2]
        wide = min(weight.shape[:2]) >= NARROWEST.get(x.dtype, 1 << 30)
        by_patches = for_weight and wide and not torch.is_grad_enabled()  # second derivatives go through the library
        dx, dw, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, stride, padding, [1, 1], transposed, [0, 0], 1,
            [for_x, for_weight and not by_patches, False],
        )  # fmt: skip
        if by_patches:
            small, large = (x, gradient) if transposed else (gradient, x)
            dw = weight_gradient(small, large, weight.shape[-1], stride[0], padding[0])
        return dx, dw, None, None, None


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
