"""Losses of odds against closed forms, and the fused one against the plain one, gradients too."""

from __future__ import annotations

import math

import pytest
import torch

from handmade.objectives import likelihood
from handmade.objectives.likelihood import cross_entropy, linear_cross_entropy


def test_equal_odds_cost_the_logarithm_of_their_number():
    assert cross_entropy(torch.zeros(2, 3, 7), torch.zeros(2, 3, dtype=torch.int64)).item() == pytest.approx(
        math.log(7)
    )


def test_the_loss_is_the_mean_surprise():
    odds = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    assert cross_entropy(odds.log(), torch.tensor([1, 2])).item() == pytest.approx((math.log(4) - math.log(0.8)) / 2)


def test_padding_does_not_count_and_nothing_else_is_no_loss():
    logits, targets = torch.randn(4, 5), torch.tensor([1, 0, 0, 3])
    expected = cross_entropy(logits[[0, 3]], targets[[0, 3]])
    assert cross_entropy(logits, targets, padding=0).item() == pytest.approx(expected.item())
    assert cross_entropy(logits, torch.zeros(4, dtype=torch.int64), padding=0).item() == 0


def test_smoothing_asks_for_a_share_of_everything():
    logits, share = torch.randn(1, 6), 0.3
    odds = logits.log_softmax(-1)[0]
    expected = -(1 - share) * odds[2] - share * odds.mean()
    assert cross_entropy(logits, torch.tensor([2]), smoothing=share).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("at_once", [1, 60, 10**6])  # one row, some rows, all rows at a time
def test_the_fused_loss_and_its_gradients_are_those_of_the_plain_one(monkeypatch, at_once):
    monkeypatch.setattr(likelihood, "AT_ONCE", at_once)
    torch.manual_seed(0)
    x, weight = torch.randn(3, 7, 16, requires_grad=True), torch.randn(20, 16, requires_grad=True)
    targets = torch.randint(20, (3, 7))
    plain, fused = cross_entropy(x @ weight.T, targets), linear_cross_entropy(x, weight, targets)
    assert fused.dtype == torch.float32 and fused.item() == pytest.approx(plain.item(), rel=1e-6)
    for a, b in zip(
        torch.autograd.grad(3 * plain, (x, weight)), torch.autograd.grad(3 * fused, (x, weight)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_under_autocast_the_fused_loss_multiplies_in_bf16_and_sums_in_float32():
    torch.manual_seed(0)
    x, weight, targets = torch.randn(64, 16), torch.randn(20, 16, requires_grad=True), torch.randint(20, (64,))
    with torch.autocast("cpu", torch.bfloat16):
        fused = linear_cross_entropy(x, weight, targets)
    assert fused.dtype == torch.float32
    assert fused.item() == pytest.approx(cross_entropy(x @ weight.T, targets).item(), rel=1e-2)
    fused.backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_without_gradients_no_gradient_is_made():
    weight = torch.randn(20, 16)
    loss = linear_cross_entropy(torch.randn(5, 16), weight, torch.zeros(5, dtype=torch.int64))
    assert not loss.requires_grad
