"""Telling partners apart: values that can be computed by hand, and groups."""

from __future__ import annotations

import math

import pytest
import torch

from handmade.objectives.contrastive import contrastive


def test_directions_at_right_angles_give_the_loss_by_hand():
    u = torch.eye(4) * torch.tensor([[1.0], [2.0], [3.0], [0.5]])  # lengths do not matter
    loss = contrastive(u, torch.eye(4), torch.tensor(2.0), 4)
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 3) - 2)


def test_directions_that_are_all_alike_tell_nothing_apart():
    same = torch.ones(6, 3)
    assert contrastive(same, same, torch.tensor(9.0), 6).item() == pytest.approx(math.log(6), rel=1e-6)


def test_groups_are_told_apart_among_themselves_alone():
    u, v = torch.randn(8, 5), torch.randn(8, 5)
    sharp = torch.tensor(3.0)
    halves = [contrastive(u[rows], v[rows], sharp, 4) for rows in (slice(0, 4), slice(4, 8))]
    assert contrastive(u, v, sharp, 4).item() == pytest.approx(sum(halves).item() / 2, rel=1e-5)
    assert contrastive(u, v, sharp, 8).item() != pytest.approx(sum(halves).item() / 2, rel=1e-3)


def test_a_rest_counts_by_its_size():
    u, v, sharp = torch.randn(7, 5), torch.randn(7, 5), torch.tensor(3.0)
    parts = [(contrastive(u[a:b], v[a:b], sharp, 5).item(), b - a) for a, b in ((0, 5), (5, 7))]
    wanted = sum(loss * n for loss, n in parts) / 7
    assert contrastive(u, v, sharp, 5).item() == pytest.approx(wanted, rel=1e-5)


def test_both_directions_count():
    u, v = torch.eye(3), torch.eye(3)[[0, 0, 2]]
    logits = u @ v.T
    by_hand = -(logits.log_softmax(1).diag().mean() + logits.log_softmax(0).diag().mean()) / 2
    assert contrastive(u, v, torch.tensor(1.0), 3).item() == pytest.approx(by_hand.item())
