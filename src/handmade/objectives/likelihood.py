"""Losses of models that give odds: how surprised a model is by what really came, in nats.

A nat is a surprise of e to one: cross-entropy / log 2 is in bits. Shannon 1948.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

AT_ONCE = 4_000_000  # logits held in memory by `linear_cross_entropy`


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0, padding: int | None = None) -> Tensor:
    """E[-log softmax(logits)[target]], a float32 scalar in nats.

    logits: (..., V); targets: (...) int64; targets equal to `padding` do not count, and 0 comes out where none does
    smoothing: this share of the odds that are asked for is spread over all V (Szegedy et al. 2015, arXiv 1512.00567)
    """
    ignored = -100 if padding is None else padding
    summed = functional.cross_entropy(
        logits.float().flatten(0, -2),
        targets.flatten(),
        ignore_index=ignored,
        label_smoothing=smoothing,
        reduction="sum",
    )
    return summed / (targets != ignored).sum().clamp_min(1)


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """`cross_entropy(x @ weight.T, targets)` without holding all logits, or any of them for the way back.

    x: (..., D); weight: (V, D); targets: (...) int64. Products are made in autocast's type, odds in float32. The gradients
    are made together with the loss, a part of the rows at a time (Wijmans et al. 2024, arXiv 2411.09009).
    """
    kind = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    return _LinearCrossEntropy.apply(x.flatten(0, -2).to(kind), weight.to(kind), targets.flatten())  # pyright: ignore


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        total, wanted = x.new_zeros((), dtype=torch.float32), any(ctx.needs_input_grad)
        to_x, to_weight = torch.empty_like(x), torch.zeros_like(weight, dtype=torch.float32)
        rows = max(1, AT_ONCE // len(weight))
        with torch.autocast(x.device.type, enabled=False):
            for start in range(0, len(x), rows):
                part, target = x[start : start + rows], targets[start : start + rows, None]
                logits = (part @ weight.T).float()  # (rows, V)
                surprises = logits.log_softmax(-1)
                total -= surprises.gather(1, target).sum()
                if wanted:  # d loss / d logits = (odds - 1 at the target) / N
                    error = surprises.exp_().scatter_add_(1, target, logits.new_full(target.shape, -1.0))
                    error = error.div_(len(x)).to(x.dtype)
                    to_x[start : start + rows] = error @ weight
                    to_weight += error.T @ part
        ctx.save_for_backward(to_x, to_weight.to(weight.dtype))
        return total / len(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        to_x, to_weight = ctx.saved_tensors
        return to_x * gradients[0], to_weight * gradients[0].to(to_weight.dtype), None
