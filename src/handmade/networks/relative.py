"""Causal attention by distance: Shaw et al. 2018 (arXiv 1803.02155), in the form of Huang et al. 2018 (arXiv 1809.04281).

    out = softmax(q k' + S) v      S[i, j] = q_i e_(i - j)       each token sees itself and those before it
A vector e_d for each distance d says what a query looks for so far back. `q e'` has the distances as columns; to bring
each to the column of its token, every row is shifted to the left of the one below: read with rows one number shorter than
they are, the same memory is S (Huang et al., section 3.4.1), and no (T, T, W) is ever made.
On a CPU training goes block by block, forward and backward written out, as in attention.py: 8 x 4 heads, 256 tokens, width
32 on one core take 21 ms in place of 37.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 64  # queries taken together
IN_CACHE = 400_000  # odds held at once: rows * BLOCK * T
softmax_backward = torch.ops.aten._softmax_backward_data  # gradient of the odds -> of the scores, in one pass


def relative_attention(q: Tensor, k: Tensor, v: Tensor, e: Tensor, scale: float) -> Tensor:
    """The last T of N tokens look at all N: (B, K, T, W) queries, (B, K, N, W) keys and values -> (B, K, T, W).

    e: (K, M, W), M >= N, for each head what distance M - 1, ..., 1, 0 says
    """
    q = q * scale
    if torch.is_grad_enabled() and q.device.type == "cpu" and q.shape == k.shape:
        return _Relative.apply(q, k, v, e[:, e.shape[1] - k.shape[2] :])  # pyright: ignore[reportReturnType]
    return _scores(q, k, e).softmax(-1) @ v


def _scores(q: Tensor, k: Tensor, e: Tensor) -> Tensor:
    """(B, K, T, W) queries and (B, K, N, W) keys -> (B, K, T, N), -inf for what comes later."""
    new, all_ = q.shape[2], k.shape[2]
    scores = q @ k.transpose(2, 3) + skewed(q @ e[:, e.shape[1] - all_ :].transpose(1, 2))
    if new == 1:
        return scores
    later = torch.ones(new, all_, dtype=torch.bool, device=q.device).triu(all_ - new + 1)
    return scores.masked_fill(later, -math.inf)


def skewed(by_distance: Tensor) -> Tensor:
    """(..., T, N), column c for distance N - 1 - c -> (..., T, N), column j for token j; what comes later is undefined."""
    new, all_ = by_distance.shape[-2:]
    flat = pad(by_distance, (0, 1)).flatten(-2)  # (..., T * (N + 1))
    return flat[..., new - 1 : new - 1 + new * all_].unflatten(-1, (new, all_))


def _pieces(shape: torch.Size) -> Iterator[tuple[int, slice, int, int]]:
    """For each head groups of rows of the batch, and in each the blocks (start, end) of queries."""
    rows, heads, tokens, _ = shape
    group = max(1, IN_CACHE // (BLOCK * tokens))
    for head in range(heads):
        for first in range(0, rows, group):
            for start in range(0, tokens, BLOCK):
                yield head, slice(first, first + group), start, min(start + BLOCK, tokens)


class _Relative(torch.autograd.Function):
    """The equation block by block; the odds are kept for the way back. Its e has as many distances as there are tokens."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, e: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v = (part.contiguous() for part in (q, k, v))
        out, kept, tokens = torch.empty_like(q), [], q.shape[2]
        future = q.new_full((BLOCK, BLOCK), -torch.inf).triu(1)
        for head, rows, start, end in _pieces(q.shape):
            one, size = q[rows, head, start:end], end - start  # (G, S, W)
            far = one.flatten(0, 1) @ e[head, tokens - end :].T  # (G * S, end)
            view = far.as_strided((len(one), size, end), (size * end, end - 1, 1), size - 1)  # `skewed`, without a copy
            scores = torch.baddbmm(view, one, k[rows, head, :end].transpose(1, 2))  # (G, S, end)
            scores[:, :, start:] += future[:size, :size]
            odds = scores.softmax(-1)
            out[rows, head, start:end] = odds @ v[rows, head, :end]
            kept.append(odds)
        ctx.save_for_backward(q, k, v, e, *kept)
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        q, k, v, e, *kept = ctx.saved_tensors
        g, tokens = gradients[0], q.shape[2]
        to_q, to_k, to_v, to_e = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v), torch.zeros_like(e)
        for (head, rows, start, end), odds in zip(_pieces(q.shape), kept, strict=True):
            one, part, size = q[rows, head, start:end], g[rows, head, start:end], end - start
            to_v[rows, head, :end] += odds.transpose(1, 2) @ part
            to_odds = part @ v[rows, head, :end].transpose(1, 2)
            to_scores = softmax_backward(to_odds, odds, -1, odds.dtype)  # (G, S, end)
            to_far = odds.new_zeros(len(one), size, end + 1)
            to_far.as_strided(to_scores.shape, (size * (end + 1), end, 1), size - 1).copy_(to_scores)
            flat = to_far.flatten(0, 1)[:, :end]  # (G * S, end), by distance again
            to_one = to_scores @ k[rows, head, :end]
            to_one.flatten(0, 1).addmm_(flat, e[head, tokens - end :])
            to_q[rows, head, start:end] = to_one
            to_k[rows, head, :end] += to_scores.transpose(1, 2) @ one
            to_e[head, tokens - end :].addmm_(flat.T, one.flatten(0, 1))
        return to_q, to_k, to_v, to_e
