"""Choices of tokens: limits that are properties, closed forms, and luck that belongs to a row alone."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from handmade.core import seeded
from handmade.errors import UserError
from handmade.samplers.tokens import (
    Taste,
    choose,
    fortunes,
    heated,
    held_back,
    min_p,
    penalise,
    stopped_at,
    top_k,
    top_p,
)

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 3.0, 2.9, -5.0]])


def lots(logits: torch.Tensor, taste: Taste, n: int = 4000) -> torch.Tensor:
    """Shares of tokens in many choices from one row."""
    luck = (torch.arange(n) + 0.5) / n
    chosen = choose(logits[:1].expand(n, -1), luck, taste)
    return torch.bincount(chosen, minlength=logits.shape[1]) / n


def test_choices_come_as_often_as_their_odds_say():
    torch.testing.assert_close(lots(LOGITS, Taste()), LOGITS[0].softmax(0), atol=1e-3, rtol=0)


def test_temperature_divides_the_logits():
    torch.testing.assert_close(lots(LOGITS, Taste(temperature=0.5)), (2 * LOGITS[0]).softmax(0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("heat", [1e-40, 1e-38, 5e-324])
def test_at_the_least_heat_the_likeliest_token_is_taken(heat):
    logits = torch.tensor([[1.0, 7.0, -3.0], [-9.0, -4.0, -8.0], [0.0, -5.0, -6.0]])
    for taste in (Taste(heat), Taste(heat, top_k=2), Taste(heat, top_p=0.9), Taste(heat, min_p=0.1)):
        assert choose(logits, torch.tensor([0.1, 0.5, 0.99]), taste).tolist() == [1, 1, 0]
    assert heated(logits[0], heat).softmax(0).tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("heat", [0.1, 0.5, 0.8, 1.5])
def test_usual_heat_is_a_plain_division_to_the_bit(heat):
    logits = 20 * torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    logits[1, 4] = -torch.inf
    assert torch.equal(heated(logits, heat), logits / heat)
    mixed = heated(torch.cat([logits, torch.full((1, 50), 1e38)]), heat)
    assert torch.equal(mixed[:3], logits / heat) and mixed[3].softmax(0).isfinite().all()


@pytest.mark.parametrize(
    "taste", [Taste(temperature=0), Taste(temperature=1e-4), Taste(top_k=1), Taste(top_p=1e-6), Taste(min_p=1.0)]
)
def test_without_freedom_the_likeliest_token_is_taken(taste):
    for luck in (0.0, 0.3, 0.999999):
        assert choose(LOGITS, torch.full((2,), luck), taste).tolist() == [0, 1]


def test_top_k_keeps_k_tokens():
    assert (top_k(LOGITS, 2) > -math.inf).sum(1).tolist() == [2, 2]
    assert torch.equal(top_k(LOGITS, 9), LOGITS)


def test_the_nucleus_is_the_smallest_that_holds_the_mass():
    torch.manual_seed(0)
    logits = torch.randn(50, 30)
    for p in (0.1, 0.5, 0.9):
        kept = top_p(logits, p) > -math.inf
        odds = logits.softmax(-1)
        mass = (odds * kept).sum(-1)
        least = torch.where(kept, odds, 2.0).min(-1).values
        assert (mass >= p - 1e-6).all() and (mass - least < p + 1e-6).all()
        assert (torch.where(kept, 0.0, odds).max(-1).values <= least).all()


def test_min_p_keeps_what_is_a_share_of_the_likeliest():
    kept = min_p(LOGITS, 0.3) > -math.inf
    assert kept.tolist() == [[True, True, False, False], [False, True, True, False]]  # e^-1 = 0.37, e^-2 = 0.14


def test_the_penalty_makes_seen_tokens_less_likely_on_both_sides_of_zero():
    out = penalise(LOGITS, torch.tensor([[0, 3], [-1, -1]]), 2.0)
    assert out.tolist() == [[1.0, 1.0, 0.0, -2.0], LOGITS[1].tolist()]


def test_a_token_that_is_ruled_out_never_comes():
    logits = torch.tensor([[0.0, -math.inf, 0.0, -math.inf]])
    for luck in (0.0, 0.49999, 0.5, 0.99999, 1.0):
        assert choose(logits, torch.tensor([luck])).item() in (0, 2)


def test_more_rows_continue_the_series_and_other_seeds_differ():
    three, five = (list(itertools.islice(fortunes(n, 1), 4)) for n in (3, 5))
    for few, many in zip(three, five, strict=True):
        assert torch.equal(few, many[:3])
    assert not torch.equal(next(fortunes(3, 2)), three[0])
    assert len(torch.stack(five).unique()) == 20


@pytest.mark.parametrize("seed", [0, -5, 2**33, -(2**63), 2**64 - 1])
def test_seeds_that_torch_takes_stay_as_they_are_and_larger_ones_are_taken_too(seed):
    plain = torch.rand(3, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(torch.rand(3, generator=seeded(seed)), plain)
    large, other = (torch.rand(3, generator=seeded(1_000_003 * (2**63 - 1) + row)) for row in (0, 1))
    assert not torch.equal(large, other)


def test_tastes_that_make_no_sense_are_refused():
    for wrong in (
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"top_k": -1},
    ):
        with pytest.raises(UserError):
            Taste(**wrong)


def test_stop_texts_are_found_and_their_beginnings_are_held_back():
    assert stopped_at("to be or not", ["not", "be"]) == 3
    assert stopped_at("to be", ["x"]) is None
    assert held_back("to be\nHAM", ["\nHAMLET", "MOP"]) == 4
    assert held_back("to be", ["\nHAMLET"]) == 0
    assert held_back("to be", []) == 0
