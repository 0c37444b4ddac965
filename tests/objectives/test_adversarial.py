"""The adversarial losses against closed forms, and the directions in which they pull."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from handmade.objectives.adversarial import (
    gradient_penalty,
    non_saturating_discriminator,
    non_saturating_generator,
    r1_penalty,
    wasserstein_critic,
    wasserstein_generator,
)


def test_discriminator_loss_of_an_undecided_judge_is_two_log_two():
    undecided = torch.zeros(7, 1)
    assert non_saturating_discriminator(undecided, undecided).item() == pytest.approx(2 * math.log(2))


def test_discriminator_loss_is_the_cross_entropy_of_the_believed_probabilities():
    on_real, on_fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [-3.0]])
    p, q = on_real.sigmoid(), on_fake.sigmoid()
    expected = -p.log().mean() - (1 - q).log().mean()
    assert non_saturating_discriminator(on_real, on_fake).item() == pytest.approx(expected.item(), rel=1e-6)


def test_generator_loss_is_minus_log_of_the_belief_that_fakes_are_real():
    on_fake = torch.tensor([math.log(3.0), math.log(1 / 3)])  # beliefs 3/4 and 1/4
    assert non_saturating_generator(on_fake).item() == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2, rel=1e-6)


def test_generator_gradient_does_not_vanish_when_every_fake_is_seen_through():
    on_fake = torch.full((4,), -30.0, requires_grad=True)
    non_saturating_generator(on_fake).backward()
    assert on_fake.grad is not None
    torch.testing.assert_close(on_fake.grad, torch.full((4,), -0.25))


def test_losses_of_certain_logits_stay_finite():
    far = torch.full((3,), 1e4)
    assert non_saturating_discriminator(-far, far).item() == pytest.approx(2e4)
    assert non_saturating_generator(far).item() == 0.0


def test_losses_of_bf16_logits_are_float32():
    logits = torch.zeros(4, dtype=torch.bfloat16)
    assert non_saturating_discriminator(logits, logits).dtype == torch.float32
    assert non_saturating_generator(logits).dtype == torch.float32


def test_r1_penalty_of_a_linear_judge_is_half_its_squared_weight_everywhere():
    weight = torch.tensor([3.0, -4.0])
    real = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert r1_penalty(real @ weight, real).item() == pytest.approx(12.5)


def test_r1_penalty_of_a_quadratic_judge_is_half_the_mean_squared_gradient():
    real = torch.tensor([[1.0, 2.0], [0.0, -3.0]], requires_grad=True)  # D = |x|^2 has gradient 2x
    assert r1_penalty(real.square().sum(1), real).item() == pytest.approx((4 * 5 + 4 * 9) / 2 / 2)


def test_r1_penalty_sums_over_all_axes_of_one_item_and_averages_over_items():
    real = torch.zeros(2, 3, 4, 4, requires_grad=True)
    assert r1_penalty(real.sum((1, 2, 3)), real).item() == pytest.approx(3 * 4 * 4 / 2)


def test_r1_penalty_teaches_the_judge_to_be_flat():
    judge = nn.Linear(2, 1)
    real = torch.zeros(3, 2, requires_grad=True)
    r1_penalty(judge(real), real).backward(inputs=list(judge.parameters()))
    torch.testing.assert_close(judge.weight.grad, judge.weight.detach())  # gradient of |w|^2 / 2 is w


def test_wasserstein_losses_are_differences_of_means():
    on_real, on_fake = torch.tensor([1.0, 3.0]), torch.tensor([[-2.0], [5.0], [0.0]])
    assert wasserstein_critic(on_real, on_fake).item() == pytest.approx(1.0 - 2.0)
    assert wasserstein_generator(on_fake).item() == pytest.approx(-1.0)
    assert wasserstein_critic(on_real.bfloat16(), on_fake.bfloat16()).dtype == torch.float32


def test_the_critic_of_slope_one_measures_by_how_far_a_cloud_was_moved():
    """W1 of a cloud and the same moved by v is |v|; the best critic is the linear one of slope 1 along it."""
    real = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    moved, critic = real + torch.tensor([3.0, 4.0]), torch.tensor([-0.6, -0.8])
    assert -wasserstein_critic(real @ critic, moved @ critic).item() == pytest.approx(5.0, rel=1e-5)


def test_gradient_penalty_of_a_linear_critic_is_what_its_weight_is_longer_than_one_squared():
    mixed = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert gradient_penalty(mixed @ torch.tensor([3.0, -4.0]), mixed).item() == pytest.approx(16.0)
    assert gradient_penalty(mixed @ torch.tensor([0.6, -0.8]), mixed).item() == pytest.approx(0.0, abs=1e-10)
    assert gradient_penalty(mixed @ torch.tensor([0.3, -0.4]), mixed).item() == pytest.approx(0.25)


def test_gradient_penalty_takes_the_slope_of_each_item_over_all_its_axes():
    mixed = torch.zeros(2, 3, 4, 4, requires_grad=True)
    steep = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)  # slopes of sqrt(48) and twice that
    expected = ((48**0.5 - 1) ** 2 + (2 * 48**0.5 - 1) ** 2) / 2
    assert gradient_penalty((steep * mixed).sum((1, 2, 3)), mixed).item() == pytest.approx(expected, rel=1e-6)


def test_gradient_penalty_pulls_the_slope_to_one_from_both_sides():
    for length, towards in ((2.0, 1.0), (0.5, -1.0)):
        critic = nn.Linear(2, 1)
        critic.weight.data = torch.tensor([[length, 0.0]])
        mixed = torch.zeros(3, 2, requires_grad=True)
        gradient_penalty(critic(mixed), mixed).backward(inputs=list(critic.parameters()))
        assert critic.weight.grad is not None
        torch.testing.assert_close(critic.weight.grad, torch.tensor([[2 * abs(length - 1) * towards, 0.0]]))


def test_gradient_penalty_of_a_flat_critic_is_one_and_its_gradient_no_nan():
    critic = nn.Linear(2, 1)
    nn.init.zeros_(critic.weight)
    mixed = torch.zeros(3, 2, requires_grad=True)
    loss = gradient_penalty(critic(mixed), mixed)
    loss.backward(inputs=list(critic.parameters()))
    assert loss.item() == 1.0
    assert critic.weight.grad is not None and critic.weight.grad.isfinite().all()
