"""Likeness of picture pairs against closed forms."""

import math

import pytest
import torch

from handmade.errors import UserError
from handmade.metrics.similarity import psnr, score_alike


def test_the_ratio_is_ten_logarithms_of_range_squared_over_mean_squared_error():
    a, b = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.2)
    b[1, :, :2] = 0  # half of the pixels are right
    assert psnr(a, b).tolist() == pytest.approx([10 * math.log10(4 / 0.04), 10 * math.log10(4 / 0.02)], abs=1e-4)


def test_equal_pictures_have_a_finite_ratio():
    a = torch.rand(2, 1, 4, 4)
    assert psnr(a, a).tolist() == pytest.approx([66.19, 66.19], abs=0.01)


def test_pictures_of_two_shapes_are_no_pairs():
    with pytest.raises(UserError, match="in pairs"):
        psnr(torch.zeros(2, 1, 4, 4), torch.zeros(2, 3, 4, 4))


def test_three_measures_of_what_came_back():
    real = torch.zeros(3, 1, 16, 16)
    scores = score_alike(real, real + 2 / 255)
    assert scores["l1"].value == pytest.approx(1, rel=1e-4)
    assert scores["psnr"].value == pytest.approx(20 * math.log10(255), rel=1e-4)
    assert score_alike(real, real)["ssim"].value == pytest.approx(1)
