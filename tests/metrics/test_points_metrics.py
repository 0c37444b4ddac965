from __future__ import annotations

import math

import pytest
import torch

from handmade.errors import UserError
from handmade.metrics.points import coverage, curve_error, wasserstein


def uniform(n: int, seed: int) -> torch.Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed)) * 50


def test_curve_error_is_the_median_distance_in_the_unit_of_y():
    x = torch.tensor([0.0, 1.0, 2.0])
    points = torch.stack([x, x**2 + torch.tensor([0.1, -0.3, 9.0])], 1)
    assert curve_error(points, torch.square) == pytest.approx(0.3, rel=1e-5)


def test_a_good_generator_covers_the_range_and_a_collapsed_one_a_cell():
    real = uniform(5000, 0)
    assert coverage(uniform(1000, 1), real) == 1.0
    assert coverage(torch.full((1000,), 7.0), real) == pytest.approx(0.05)
    assert coverage(uniform(1000, 2) / 2, real) == pytest.approx(0.5, abs=0.05)


def test_points_far_outside_the_range_cover_nothing():
    assert coverage(uniform(1000, 1) + 1000, uniform(1000, 0)) == 0.0


def test_coverage_follows_a_distribution_that_is_not_even():
    real = uniform(5000, 0).square()
    assert coverage(uniform(2000, 1).square(), real) == 1.0
    assert coverage(uniform(2000, 1) * 50, real) < 1.0  # evenly spread leaves the dense cells short


def test_wasserstein_of_shifted_points_is_the_shift():
    x = uniform(500, 0)
    assert wasserstein(x, x + 3) == pytest.approx(3, rel=1e-5)
    assert wasserstein(x, x) == 0.0


def test_wasserstein_of_sets_of_different_sizes_has_its_closed_form():
    assert wasserstein(torch.tensor([0.0]), torch.tensor([0.0, 1.0])) == pytest.approx(0.5)
    assert wasserstein(torch.tensor([0.0, 0.0, 0.0]), torch.tensor([1.0, 4.0])) == pytest.approx(2.5)


def test_wasserstein_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    x, y = uniform(37, 0), uniform(101, 1).square() / 50
    assert wasserstein(x, y) == pytest.approx(stats.wasserstein_distance(x.double(), y.double()), rel=1e-9)


@pytest.mark.parametrize("values", [torch.tensor([]), torch.tensor([1.0, math.nan])])
def test_no_points_and_nan_are_refused(values):
    with pytest.raises(UserError, match="finite"):
        wasserstein(values, torch.tensor([1.0]))
