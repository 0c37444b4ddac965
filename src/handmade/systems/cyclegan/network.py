"""The two networks of the game: one that repaints a picture, and one that looks at it patch by patch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, group_norm, pad


class Reflect(nn.Module):
    """Mirror a picture at its edges: (B, C, H, W) -> (B, C, H + 2n, W + 2n)."""

    def __init__(self, n: int):
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        """Mirror, in the type and layout that comes in: left to itself, autocast would go back to float32 for this."""
        with torch.autocast(x.device.type, enabled=False):
            return pad(x, (self.n,) * 4, mode="reflect")


class InstanceNorm(nn.Module):
    """Each channel of each picture gets mean 0 and variance 1 (Ulyanov et al. 2016, arXiv 1607.08022), (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise without leaving the layout that comes in, which torch's own norm of this name would do."""
        if x.is_contiguous():  # as many groups as channels
            return group_norm(x, x.shape[1])
        pictures = [batch_norm(picture, None, None, training=True) for picture in x.split(1)]
        return torch.cat(pictures) if pictures[1:] else pictures[0]


def clamped(x: Tensor) -> Tensor:
    """Cut at 0 and 1, exactly; and yet a gradient that leads back inside is let through, so that nothing is ever stuck.

    A sigmoid in its place is never 0, and where it is nearly 0 nearly nothing can raise it again.
    """
    return _Clamped.apply(x)  # type: ignore[return-value]


class _Clamped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        outwards = ((x < 0) & (gradient > 0)) | ((x > 1) & (gradient < 0))  # a step goes against the gradient
        return gradient.masked_fill(outwards, 0.0)


def convolution(inner: int, outer: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A mirrored convolution with its norm and activation; a stride of 2 halves the picture."""
    layers = [Reflect(kernel // 2), nn.Conv2d(inner, outer, kernel, stride, bias=False)]
    return [*layers, InstanceNorm(), nn.ReLU(True)]


def doubled(inner: int, outer: int) -> list[nn.Module]:
    """A transposed convolution that doubles the picture."""
    up = nn.ConvTranspose2d(inner, outer, 3, 2, 1, output_padding=1, bias=False)
    return [up, InstanceNorm(), nn.ReLU(True)]


class Residual(nn.Sequential):
    """Two convolutions whose result is added to what came in (He et al. 2015, arXiv 1512.03385), (B, C, H, W)."""

    def __init__(self, channels: int):
        second = [Reflect(1), nn.Conv2d(channels, channels, 3, bias=False), InstanceNorm()]
        super().__init__(*convolution(channels, channels, 3), *second)

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        return x + super().forward(x)


class Generator(nn.Module):
    """Pictures (B, C, H, W) -> what to paint, (B, C [+ 1], H, W): colours before their tanh, a mask before it is cut.

    The ResNet of Johnson et al. 2016 (arXiv 1603.08155): down to a quarter, blocks, up again; H and W multiples of 4.
    """

    def __init__(self, channels: int, width: int, blocks: int, kernel: int, mask: bool, skip: bool):
        super().__init__()
        self.skip = skip
        self.enter = nn.Sequential(*convolution(channels, width, kernel))
        self.shrink = nn.Sequential(*convolution(width, 2 * width, 3, 2))
        self.shrink_again = nn.Sequential(*convolution(2 * width, 4 * width, 3, 2))
        self.blocks = nn.Sequential(*(Residual(4 * width) for _ in range(blocks)))
        self.grow = nn.Sequential(*doubled(4 * width, 2 * width))
        self.grow_again = nn.Sequential(*doubled(2 * width, width))
        self.leave = nn.Sequential(Reflect(kernel // 2), nn.Conv2d(width, channels + mask, kernel))

    def forward(self, x: Tensor) -> Tensor:
        """Repaint; with `skip` each size on the way up is reminded of the same size on the way down."""
        whole = self.enter(x)  # (B, width, H, W)
        half = self.shrink(whole)  # (B, 2 width, H/2, W/2)
        up = self.grow(self.blocks(self.shrink_again(half)))
        up = self.grow_again(up + half if self.skip else up)
        return self.leave(up + whole if self.skip else up)


def critic(channels: int, width: int, layers: int) -> nn.Sequential:
    """Pictures (B, C, H, W) -> a score for every patch, (B, 1, h, w): 1 for real, 0 for made, no sigmoid.

    The PatchGAN of Isola et al. 2016 (arXiv 1611.07004): with 3 halvings each score sees 70 x 70 px, with 2 it sees 34.
    """
    sizes = [width * min(2**i, 8) for i in range(layers + 1)]  # 3 halvings: 64, 128, 256, 512
    stack: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for i, (outer, inner) in enumerate(pairwise(sizes), start=1):
        stack += [nn.Conv2d(outer, inner, 4, 2 if i < layers else 1, 1, bias=False)]
        stack += [InstanceNorm(), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*stack, nn.Conv2d(sizes[-1], 1, 4, 1, 1))


def initialise(layer: nn.Module) -> None:
    """Draw a layer's weights from N(0, 0.02) (paper, appendix 7.1)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
