from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor

from handmade.errors import UserError
from handmade.metrics.image import duplicates, floor, frechet, kid, nearest, precision_recall, ssim


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_kid_is_the_sum_over_all_pairs_that_the_paper_writes():
    a, b = normal(7, 3, 0), normal(5, 3, 1) + 1

    def k(x: Tensor, y: Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    within_a = sum(k(a[i], a[j]) for i in range(7) for j in range(7) if i != j) / 42
    within_b = sum(k(b[i], b[j]) for i in range(5) for j in range(5) if i != j) / 20
    between = sum(k(x, y) for x in a for y in b) / 35
    assert kid(a, b, small=True).value == pytest.approx(within_a + within_b - 2 * between, rel=1e-5)


def test_kid_of_two_points_masses_has_its_closed_form():
    a, b = torch.zeros(300, 4), torch.full((400, 4), 1.0)  # k = 1 within a, 8 within b, 1 between
    assert kid(a, b) == pytest.approx((7.0, 7.0, 7.0))


def test_kid_of_equal_distributions_is_zero_on_average_and_its_interval_holds_zero():
    estimates = [kid(normal(256, 8, seed), normal(256, 8, seed + 1000)) for seed in range(60)]
    values = torch.tensor([estimate.value for estimate in estimates])
    assert abs(float(values.mean())) < 3 * float(values.std()) / math.sqrt(60)
    assert float((values < 0).double().mean()) > 0.2  # unbiased: it falls below zero as well
    assert sum(estimate.low <= 0 <= estimate.high for estimate in estimates) >= 56


def test_kid_is_the_same_for_few_and_many_items_where_the_frechet_distance_is_not():
    few = torch.tensor([kid(normal(256, 32, s), normal(256, 32, s + 99) + 0.3).value for s in range(8)]).mean()
    many = kid(normal(4000, 32, 1), normal(4000, 32, 2) + 0.3).value
    assert float(few) == pytest.approx(many, rel=0.1)
    assert frechet(normal(256, 32, 1), normal(256, 32, 2)) > 5 * frechet(normal(4000, 32, 1), normal(4000, 32, 2))


def test_the_interval_of_kid_holds_the_true_distance_of_different_distributions():
    truth = kid(normal(8000, 4, 1), normal(8000, 4, 2) + 0.5).value
    estimates = [kid(normal(256, 4, seed), normal(256, 4, seed + 500) + 0.5) for seed in range(60)]
    assert sum(estimate.low <= truth <= estimate.high for estimate in estimates) >= 53
    assert all(estimate.low > 0 for estimate in estimates)


def test_kid_of_2048_items_with_256_features_is_quick():
    a, b = normal(2048, 256, 0), normal(2048, 256, 1)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        kid(a, b)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0  # 0.15 s on an idle core; a machine that does other things gets some slack


def test_frechet_of_two_known_gaussians():
    a, b = normal(40_000, 3, 0), normal(40_000, 3, 1)
    scale, shift = torch.tensor([2.0, 0.5, 1.0]), torch.tensor([1.0, 0.0, -2.0])
    truth = 5.0 + float((scale - 1).square().sum())  # |mean|^2 + sum of (s - 1)^2 for diagonal covariances
    assert frechet(a, b * scale + shift) == pytest.approx(truth, rel=0.02)


def test_frechet_agrees_with_the_matrix_square_root_for_correlated_features():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = normal(500, 6, 0) @ normal(6, 6, 5), normal(500, 6, 1) @ normal(6, 6, 6) + 0.2
    cov_a, cov_b = torch.cov(a.double().T).numpy(), torch.cov(b.double().T).numpy()
    root = linalg.sqrtm(cov_a @ cov_b).real
    apart = float((a.double().mean(0) - b.double().mean(0)).square().sum())
    assert frechet(a, b) == pytest.approx(apart + (cov_a + cov_b - 2 * root).trace(), rel=1e-6)


def test_frechet_of_a_set_with_itself_is_zero():
    a = normal(300, 16, 0)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_precision_and_recall_of_disjoint_clouds_are_zero_and_of_equal_ones_high():
    real = normal(300, 2, 0)
    assert precision_recall(real, normal(300, 2, 1) + 100) == (0.0, 0.0)
    same = precision_recall(real, normal(300, 2, 1))
    assert same.precision > 0.9
    assert same.recall > 0.9


def test_a_generator_that_makes_one_mode_of_two_has_precision_but_half_the_recall():
    real = torch.cat([normal(200, 2, 0), normal(200, 2, 1) + 50])
    found = precision_recall(real, normal(400, 2, 2))
    assert found.precision > 0.9
    assert found.recall == pytest.approx(0.5, abs=0.05)


def test_nearest_finds_the_training_picture_that_was_copied():
    real = normal(2000, 12, 0).view(2000, 3, 2, 2)
    wanted = torch.tensor([5, 1999, 0])
    found = nearest(real[wanted] + 0.001, real)
    assert found.index.tolist() == wanted.tolist()
    assert float(found.distance.max()) < 0.01


def test_duplicates_counts_pictures_that_have_a_near_copy():
    pictures = torch.rand(1500, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert duplicates(pictures) == 0.0
    pictures[1200:1205] = pictures[:5] + 0.01  # ten pictures are now in a pair
    assert duplicates(pictures) == pytest.approx(10 / 1500)
    assert duplicates(pictures[:1].expand(4, 1, 8, 8)) == 1.0
    assert duplicates(pictures[:1]) == 0.0


def test_duplicates_looks_past_fine_noise_on_large_pictures():
    picture = torch.zeros(2, 3, 128, 128)
    picture[1] = 0.1 * torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert duplicates(picture) == 1.0


def test_ssim_of_equal_pictures_is_one_and_of_opposite_ones_low():
    a = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert ssim(a, a).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert float(ssim(a, -a).max()) < 0
    assert ssim(a[:, :1, :8, :8], a[:, :1, :8, :8]).shape == (3,)  # smaller than the window


def test_ssim_of_two_flat_pictures_has_its_closed_form():
    a, b = torch.full((1, 1, 16, 16), 0.2), torch.full((1, 1, 16, 16), 0.6)
    c1 = 0.01**2  # on the scale of 0 to 1 the levels are 0.6 and 0.8
    assert float(ssim(a, b)) == pytest.approx((2 * 0.48 + c1) / (0.36 + 0.64 + c1), rel=1e-3)


def test_floor_measures_two_halves_that_share_no_item():
    real = torch.arange(101.0)[:, None]
    a, b = floor(lambda a, b: (a, b), real)
    assert len(a) == len(b) == 50
    assert not set(a.flatten().tolist()) & set(b.flatten().tolist())
    assert floor(lambda a, b: a.sum(), real, seed=1) != floor(lambda a, b: a.sum(), real, seed=2)


@pytest.mark.parametrize("metric", [kid, frechet, precision_recall])
def test_too_few_items_are_refused_with_the_number_that_is_needed(metric):
    with pytest.raises(UserError, match=r"100 items are too few .* at least 256"):
        metric(normal(100, 4, 0), normal(300, 4, 1))
    metric(normal(100, 4, 0), normal(300, 4, 1), small=True)


def test_features_that_do_not_fit_or_hold_nan_are_refused():
    with pytest.raises(UserError, match=r"features must be"):
        kid(normal(300, 4, 0), normal(300, 5, 0))
    broken = normal(300, 4, 0)
    broken[3, 1] = math.nan
    with pytest.raises(UserError, match="NaN"):
        kid(normal(300, 4, 1), broken)
