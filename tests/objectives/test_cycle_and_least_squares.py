"""The losses of unpaired translation against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from handmade.objectives.cycle import blend, cycle_consistency, identity_mapping
from handmade.objectives.least_squares import least_squares_critic, least_squares_generator


def test_the_critics_loss_is_half_the_squared_distance_from_one_and_from_zero():
    on_real, on_fake = torch.tensor([[2.0], [0.0]]), torch.tensor([[3.0], [1.0]])
    assert least_squares_critic(on_real, on_fake).item() == pytest.approx((1 + (9 + 1) / 2) / 2)
    assert least_squares_critic(torch.ones(3), torch.zeros(3)).item() == 0


def test_a_critic_that_cannot_tell_says_one_half():
    score = torch.tensor(0.1, requires_grad=True)
    for _ in range(100):
        (slope,) = torch.autograd.grad(least_squares_critic(score, score), score)
        score = (score - 0.2 * slope).detach().requires_grad_()
    assert score.item() == pytest.approx(0.5, abs=1e-4)


def test_the_generators_loss_still_pulls_where_a_sigmoid_would_be_flat():
    on_fake = torch.tensor([-30.0], requires_grad=True)
    least_squares_generator(on_fake).backward()
    assert on_fake.grad is not None and on_fake.grad.item() == pytest.approx(2 * (-30 - 1))


def test_cycle_and_identity_are_mean_absolute_differences():
    x, y = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[[0.5, 1.0]]]])
    assert cycle_consistency(x, y).item() == pytest.approx((0.5 + 2) / 2)
    assert identity_mapping(x, y).item() == pytest.approx(1.25)
    assert cycle_consistency(x, x).item() == 0


def test_losses_are_float32_whatever_comes_in():
    half = torch.ones(2, 3, dtype=torch.bfloat16)
    for loss in (
        least_squares_critic(half, half), least_squares_generator(half), cycle_consistency(half, half),
        identity_mapping(half, half),
    ):  # fmt: skip
        assert loss.dtype == torch.float32 and loss.shape == ()


def test_a_blend_keeps_the_picture_to_the_bit_where_the_mask_is_zero():
    picture, painted = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mask = torch.zeros(2, 1, 4, 4)
    mask[:, :, :2], mask[:, :, 2, 0] = 1.0, 0.25
    out = blend(picture, painted, mask)
    assert torch.equal(out[:, :, 3], picture[:, :, 3])
    assert torch.allclose(out[:, :, :2], painted[:, :, :2], atol=1e-6)
    assert torch.allclose(out[:, :, 2, 0], 0.75 * picture[:, :, 2, 0] + 0.25 * painted[:, :, 2, 0], atol=1e-6)
