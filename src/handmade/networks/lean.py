"""Two small functions with their slopes written out: fewer passes over memory than torch's automatic ones.

In bf16 on one core, forward and backward for 800,000 numbers: the norm 1.4 instead of 3.1 ms, the turn 1.4 instead of 3.4. Each
keeps at most one tensor of that size for the way back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def normalise(x: Tensor) -> Tensor:
    """(..., W) -> (..., W), mean square 1 along the last axis: Zhang & Sennrich 2019 (arXiv 1910.07467), no weights.

    Under autocast the result comes in its type, since a product follows.
    """
    kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    return _Normalise.apply(x, kind)  # pyright: ignore[reportReturnType]


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the pairs (x[i], x[i + P]) of (..., T, W) by angles; with an odd W = 2 P + 1 the last number stays as it is.

    turns: (..., T, 2 P), the cosines of the angles, then their sines. Su et al. 2021 (arXiv 2104.09864).
    """
    return _Rotate.apply(x, *turns.to(x.dtype).chunk(2, -1))  # pyright: ignore[reportReturnType]


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kind: torch.dtype) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        wide = torch.promote_types(x.dtype, torch.float32)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
        factor = x.shape[-1] ** 0.5 / length.clamp_min(1e-6)
        out = torch.mul(x, factor, out=torch.empty_like(x, dtype=kind)) if kind != x.dtype else x * factor.to(kind)
        ctx.save_for_backward(out, factor.to(x.dtype))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        out, factor = ctx.saved_tensors  # what points along x changes only its length, which is lost
        along = (out * gradients[0]).mean(-1, keepdim=True)
        return torch.addcmul(gradients[0], out, along, value=-1) * factor, None


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(gradients[0], cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    pairs = cos.shape[-1]
    a, b, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    if x.dtype == torch.bfloat16 and not rest.numel():  # long rows only: short ones are slow in bf16
        swapped = torch.cat([b, a], -1).mul_(torch.cat([-sin, sin], -1))
        return swapped.add_(x.contiguous() * torch.cat([cos, cos], -1))
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    torch.mul(a, cos, out=out[..., :pairs]).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=out[..., pairs : 2 * pairs]).addcmul_(a, sin)
    out[..., 2 * pairs :] = rest
    return out
