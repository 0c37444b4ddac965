"""The model that counts: its odds by hand, and that more context helps."""

from __future__ import annotations

import math

import pytest
import torch

from handmade.metrics.ngrams import ngram_nats


def test_odds_are_those_of_the_formula():
    train, test = torch.tensor([0, 1, 0, 1, 0, 2]), torch.tensor([0, 1, 2, 2])
    p0 = [(3 + 3 / 4) / 9, (2 + 3 / 4) / 9, (1 + 3 / 4) / 9]  # unigrams: 6 tokens of 3 kinds, V = 4
    first = (2 + 2 * p0[1]) / 5  # after 0: twice 1, once 2
    second = (0 + 1 * p0[2]) / 3  # after 1: twice 0
    third = p0[2]  # nothing came after 2
    found = ngram_nats(train, test, 2, 4)
    assert found.tolist() == pytest.approx([-math.log(p) for p in (first, second, third)])


@pytest.mark.parametrize("order", [1, 2, 3, 9])
def test_odds_of_all_tokens_add_up_to_one(order):
    train = torch.randint(5, (60,), generator=torch.Generator().manual_seed(0))
    start = [3, 1, 4]
    odds = [float((-ngram_nats(train, torch.tensor([*start, last]), order, 5)[-1]).exp()) for last in range(5)]
    assert sum(odds) == pytest.approx(1.0)


def test_a_text_that_repeats_is_foreseen_only_with_enough_context():
    train = torch.tensor([0, 0, 1, 0, 2, 1] * 50)
    nats = [float(ngram_nats(train, train[:60], order, 3).mean()) for order in (1, 2, 3, 4)]
    assert nats[0] > nats[1] > nats[2] and nats[3] < 0.1


def test_a_training_text_shorter_than_the_order_is_enough():
    assert ngram_nats(torch.tensor([1]), torch.tensor([0, 1]), 5, 2).isfinite().all()
