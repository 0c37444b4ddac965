"""Noise and back: each function against its closed form."""

from __future__ import annotations

import math

import pytest
import torch

from handmade.objectives import denoising


@pytest.mark.parametrize("law", denoising.LAWS.values(), ids=list(denoising.LAWS))
def test_a_law_keeps_the_variance_and_goes_from_picture_to_noise(law):
    a, s = law(torch.linspace(0, 1, 101))
    assert torch.allclose(a.square() + s.square(), torch.ones(101), atol=1e-6)
    assert (a.diff() <= 0).all() and a[0] > 0.999 and s[0] > 0 and a[-1] <= 0.011


def test_laws_at_half_time_are_the_papers():
    half = torch.tensor(0.5)
    assert denoising.linear(half).a.square() == pytest.approx(math.exp(-0.05 - 9.95 / 4), rel=1e-5)
    f = [math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0.5, 0.0)]
    assert denoising.cosine(half).a.square() == pytest.approx(f[0] / f[1], rel=1e-5)


def test_the_straight_law_goes_the_shortest_way():
    x, e = torch.randn(2, 5, 3, 4, 4)
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    at = denoising.straight(t)
    x_t, flow = denoising.noisy(x, e, at), denoising.target(x, e, at, "flow")
    assert torch.allclose(at.a + at.s, torch.ones(5))
    assert torch.allclose(x_t - t.view(-1, 1, 1, 1) * flow, x, atol=1e-5)
    assert torch.allclose(denoising.picture_in(flow, x_t, at, "flow"), x, atol=1e-5)


def test_middle_times_are_logit_normal():
    assert denoising.middle_times(torch.tensor([0.0, 1.0]), 0.5) == pytest.approx([0.6225, 0.8176], abs=1e-4)


@pytest.mark.parametrize("predict", ["noise", "picture", "velocity"])
def test_a_right_guess_of_any_kind_gives_the_picture_back(predict):
    x, e = torch.randn(2, 5, 3, 4, 4)
    at = denoising.cosine(torch.tensor([0.0, 0.2, 0.5, 0.7, 0.95]))
    x_t = denoising.noisy(x, e, at)
    guess = denoising.target(x, e, at, predict)
    assert torch.allclose(denoising.picture_in(guess, x_t, at, predict), x, atol=1e-4)


def test_noise_enters_by_its_level():
    at = denoising.Levels(torch.tensor([0.6]), torch.tensor([0.8]))
    x, e = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), -1.0)
    assert torch.allclose(denoising.noisy(x, e, at), torch.tensor(0.6 * 2 - 0.8))
    assert torch.allclose(denoising.target(x, e, at, "velocity"), torch.tensor(-0.6 - 1.6))


def test_the_error_is_per_number_and_float32():
    error = denoising.squared_error(torch.zeros(3, 2, dtype=torch.bfloat16), torch.full((3, 2), 2.0))
    assert error.dtype == torch.float32 and error == 4


def test_black_and_white_move_outwards_and_clamping_brings_them_back():
    x = torch.tensor([-1.0, -0.99, 0.0, 0.5, 1.0])
    assert denoising.beyond(x, 0.1).tolist() == pytest.approx([-1.1, -0.99, 0.0, 0.5, 1.1])
    assert torch.equal(denoising.beyond(x, 0.1).clamp(-1, 1), x)
    assert torch.equal(denoising.beyond(x, 0.0), x)
