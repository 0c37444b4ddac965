"""A layer computed otherwise, beside the same layer as the library computes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def relative(a: Tensor, b: Tensor) -> float:
    """The size of the difference, as a share of b's."""
    return ((a - b).norm() / b.norm()).item()


def same_as_the_librarys(plain: nn.Module, ours: nn.Module, x: Tensor) -> None:
    """Results and all gradients, in float64, to the last digits but a few."""
    wanted, got = plain(x), ours(x)
    assert got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-12)
    shares = torch.randn_like(wanted)
    for a, b in zip(torch.autograd.grad(got, [x, *ours.parameters()], shares),
                    torch.autograd.grad(wanted, [x, *plain.parameters()], shares), strict=True):  # fmt: skip
        assert a.shape == b.shape and torch.allclose(a, b, atol=1e-12)


def rounded_as_bf16_is(plain: nn.Module, ours: nn.Module, x: Tensor) -> None:
    """Results and gradients in bf16, which are off by what rounding takes; weights keep gradients of their own type."""
    wanted = plain(x)
    with torch.autocast("cpu", torch.bfloat16):
        got = ours(x)
    assert got.dtype == torch.bfloat16 and relative(got.float(), wanted) < 0.015
    shares = torch.randn_like(wanted)
    dx, dw = torch.autograd.grad(got, [x, ours.weight], shares.bfloat16())
    true_dx, true_dw = torch.autograd.grad(wanted, [x, plain.weight], shares)
    assert dw.dtype == torch.float32 and relative(dx, true_dx) < 0.015 and relative(dw, true_dw) < 0.015
