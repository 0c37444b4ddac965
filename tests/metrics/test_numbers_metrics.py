from __future__ import annotations

import math

import pytest
import torch

from handmade.errors import UserError
from handmade.metrics.numbers import duplicate_share, entropy_ratio, pair_entropy_ratio, rarest_share, valid_share

FIVES = tuple(range(0, 100, 5))


def fair(n: int = 2000, length: int = 10) -> torch.Tensor:
    return torch.randint(0, 20, (n, length), generator=torch.Generator().manual_seed(0)) * 5


def test_valid_share_counts_the_members():
    assert valid_share(torch.tensor([[0, 5], [7, 95]]), FIVES) == 0.75


def test_entropy_of_even_numbers_is_the_true_one_and_of_one_number_zero():
    assert entropy_ratio(fair(), FIVES) == pytest.approx(1, abs=0.001)
    assert entropy_ratio(torch.full((50, 10), 5), FIVES) == 0.0
    half = torch.tensor([[0, 5]])  # 1 bit of log2(20)
    assert entropy_ratio(half, FIVES) == pytest.approx(1 / math.log2(20))


def test_wrong_numbers_do_not_raise_the_entropy():
    assert entropy_ratio(torch.arange(100).view(1, 100) // 5 * 5 + 1, FIVES) == 0.0


def test_a_book_generator_that_misses_seven_numbers_scores_below_the_bar():
    some = torch.tensor(FIVES)[torch.randint(0, 13, (1000, 10), generator=torch.Generator().manual_seed(0))]
    assert valid_share(some, FIVES) == 1.0
    assert entropy_ratio(some, FIVES) < 0.95
    assert rarest_share(some, FIVES) == 0.0


def test_rarest_share_is_one_for_even_numbers():
    assert rarest_share(torch.tensor([FIVES]), FIVES) == pytest.approx(1.0)
    assert rarest_share(fair(), FIVES) > 0.8


def test_sequences_that_repeat_one_number_are_caught_by_their_pairs():
    constant = torch.tensor(FIVES)[:, None].expand(20, 10)
    assert entropy_ratio(constant, FIVES) == pytest.approx(1)
    assert pair_entropy_ratio(constant, FIVES) == pytest.approx(0.5)
    assert pair_entropy_ratio(fair(), FIVES) > 0.98


def test_duplicate_share_counts_repeats():
    assert duplicate_share(torch.tensor([[1, 2], [1, 2], [3, 4], [1, 2]])) == 0.5
    assert duplicate_share(fair()) == 0.0


def test_a_set_of_one_number_is_perfect_when_it_comes():
    assert entropy_ratio(torch.tensor([[3, 3]]), (3,)) == 1.0
    assert pair_entropy_ratio(torch.tensor([[3, 3]]), (3,)) == 1.0
    assert entropy_ratio(torch.tensor([[4, 4]]), (3,)) == 0.0


def test_numbers_that_are_not_whole_are_refused():
    with pytest.raises(UserError, match="whole"):
        valid_share(torch.rand(3, 3), FIVES)
