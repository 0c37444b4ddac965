"""Terms of the evidence lower bound against closed forms."""

import math

import pytest
import torch

from handmade.objectives.variational import STEP, bits_per_dim, discretised_logistic, gaussian_kl

LEVELS = torch.arange(256).float() / 127.5 - 1


def test_the_price_of_a_code_is_that_of_torchs_distributions():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    code = torch.distributions.Normal(mean, (log_variance / 2).exp())
    true = torch.distributions.kl_divergence(code, torch.distributions.Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(gaussian_kl(mean, log_variance), true, atol=1e-5)


def test_a_code_that_says_nothing_is_free():
    assert gaussian_kl(torch.zeros(3, 4), torch.zeros(3, 4)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("mean", [-1.3, -1.0, 0.123, 0.9])
@pytest.mark.parametrize("log_scale", [-7.0, -3.0, 0.0])
def test_the_odds_of_all_levels_of_a_pixel_sum_to_one(mean, log_scale):
    surprise = discretised_logistic(LEVELS[:, None], torch.full((256, 1), mean), torch.tensor(log_scale))
    assert float(surprise.double().neg().exp().sum()) == pytest.approx(1, abs=1e-4)


def test_a_level_has_the_logistics_mass_between_its_edges():
    x, mean, scale = 100 / 127.5 - 1, 0.1, 0.05
    share = 1 / (1 + math.exp(-(x - mean + STEP / 2) / scale)) - 1 / (1 + math.exp(-(x - mean - STEP / 2) / scale))
    found = discretised_logistic(torch.tensor([[x]]), torch.tensor([[mean]]), torch.tensor(math.log(scale)))
    assert float(found) == pytest.approx(-math.log(share), rel=1e-4)


def test_a_level_that_is_next_to_impossible_still_has_a_finite_surprise_and_gradient():
    mean = torch.tensor([[-1.0]], requires_grad=True)
    found = discretised_logistic(torch.tensor([[0.99]]), mean, torch.tensor(-7.0))
    found.sum().backward()
    assert float(found.detach()) > 1000 and mean.grad is not None and mean.grad.isfinite().all()


def test_surprises_are_summed_over_a_picture():
    pixels = LEVELS[torch.arange(24)].view(2, 3, 2, 2)
    whole = discretised_logistic(pixels, torch.zeros(2, 3, 2, 2), torch.tensor(-1.0))
    single = discretised_logistic(pixels.reshape(24, 1), torch.zeros(24, 1), torch.tensor(-1.0))
    assert torch.allclose(whole, single.view(2, 12).sum(1))


def test_eight_bits_are_eight_bits():
    assert float(bits_per_dim(torch.tensor(12 * math.log(256)), 12)) == pytest.approx(8)
