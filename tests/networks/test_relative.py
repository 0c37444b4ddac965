"""Relative attention: the equation term by term, the slopes, and one token at a time as all at once."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from handmade.networks.relative import relative_attention, skewed


def by_hand(q: Tensor, k: Tensor, v: Tensor, e: Tensor, scale: float) -> Tensor:
    """softmax(scale (q_i k_j + q_i e_(i-j))) v, one score at a time."""
    batch, heads, tokens, _ = q.shape
    scores = torch.full((batch, heads, tokens, tokens), -math.inf, dtype=q.dtype)
    for i in range(tokens):
        for j in range(i + 1):
            scores[:, :, i, j] = scale * (q[:, :, i] * (k[:, :, j] + e[:, -1 - (i - j)])).sum(-1)
    return scores.softmax(-1) @ v


def drawn(batch: int, heads: int, tokens: int, width: int, most: int) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(batch, heads, tokens, width)] * 3 + [(heads, most, width)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("sizes", [(2, 3, 1, 4, 1), (2, 3, 7, 4, 7), (3, 2, 66, 5, 80), (1, 1, 130, 3, 130)])
def test_the_equation_and_its_slopes(sizes):
    tensors = drawn(*sizes)
    wanted, made = by_hand(*tensors, 0.5), relative_attention(*tensors, 0.5)
    assert torch.allclose(made, wanted)
    slope = torch.randn_like(made)
    for ours, right in zip(*(torch.autograd.grad(out, tensors, slope) for out in (made, wanted)), strict=True):
        assert torch.allclose(ours, right)
    with torch.no_grad():
        assert torch.allclose(relative_attention(*tensors, 0.5), wanted), "without gradients it goes another way"


def test_one_token_at_a_time_sees_what_all_at_once_see():
    q, k, v, e = (part.detach() for part in drawn(2, 2, 9, 4, 12))
    whole = relative_attention(q, k, v, e, 0.3)
    for end in range(1, 10):
        part = relative_attention(q[:, :, end - 1 : end], k[:, :, :end], v[:, :, :end], e, 0.3)
        assert torch.allclose(part, whole[:, :, end - 1 : end])
    assert torch.allclose(relative_attention(q[:, :, -4:], k, v, e, 0.3), whole[:, :, -4:])


def test_the_skew_brings_distances_to_tokens():
    by_distance = torch.tensor([[2, 1, 0]] * 3)  # column c is distance 2 - c
    assert torch.equal(skewed(by_distance).tril(), torch.tensor([[0, 0, 0], [1, 0, 0], [2, 1, 0]]))


def test_groups_of_rows_that_do_not_divide_the_batch(monkeypatch):
    monkeypatch.setattr("handmade.networks.relative.IN_CACHE", 2 * 64 * 70)
    tensors = drawn(3, 2, 70, 4, 70)
    assert torch.allclose(relative_attention(*tensors, 0.5), by_hand(*tensors, 0.5))
